// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/// A tokenizer of one word an id, for checkpoints that come without one.
public final class WordTokenizer {
    private WordTokenizer() {}

    /// Gives a model its tokenizer.
    static void write(Path model, int words) throws IOException {
        String vocabulary =
                IntStream.range(0, words)
                        .mapToObj(i -> "\"w%d\": %d".formatted(i, i))
                        .collect(Collectors.joining(", "));
        String tokenizer =
                """
                {"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
                 "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
                 "post_processor": null, "decoder": null,
                 "model": {"type": "WordLevel", "vocab": {%s}, "unk_token": "w0"}}
                """
                        .formatted(vocabulary);
        Files.writeString(model.resolve("tokenizer.json"), tokenizer);
    }

    /// Ids of a text, the same on every call.
    public static int[] ids(int count, int words) {
        return new Random(5).ints(count, 0, words).toArray();
    }

    public static String text(int[] ids) {
        return IntStream.of(ids).mapToObj(id -> "w" + id).collect(Collectors.joining(" "));
    }
}
