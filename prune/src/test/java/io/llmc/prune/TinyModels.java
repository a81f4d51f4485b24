// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import io.llmc.model.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/// Copies of tiny random checkpoints, with a tokenizer of one word an id, and a text of such words.
final class TinyModels {
    private TinyModels() {}

    static Stream<Path> checkpoints() {
        return TestFiles.directories(TestFiles.testdata(), "tiny-");
    }

    /// A copy with `tokenizer.json` and `text.txt`.
    static Path copy(Path source, Path target, int vocabulary) throws IOException {
        Files.createDirectories(target);
        try (Stream<Path> files = Files.list(source)) {
            for (Path file : files.filter(TinyModels::isModel).toList()) {
                Files.copy(file, target.resolve(file.getFileName()));
            }
        }
        Files.writeString(target.resolve("tokenizer.json"), tokenizer(vocabulary));
        Files.writeString(target.resolve("text.txt"), text(vocabulary));
        return target;
    }

    private static boolean isModel(Path file) {
        String name = file.getFileName().toString();
        return name.equals("config.json") || name.startsWith("model");
    }

    private static String tokenizer(int words) {
        String vocabulary =
                IntStream.range(0, words)
                        .mapToObj(i -> "\"w%d\": %d".formatted(i, i))
                        .collect(Collectors.joining(", "));
        return """
        {"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
         "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
         "model": {"type": "WordLevel", "vocab": {%s}, "unk_token": "w0"}}
        """
                .formatted(vocabulary);
    }

    private static String text(int words) {
        Random random = new Random(5);
        return IntStream.range(0, 4000)
                .mapToObj(i -> "w" + random.nextInt(words))
                .collect(Collectors.joining(" "));
    }
}
