// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/// A tokenizer.json of a few words, for tests: `w0` to `w9` are ids 3 to 12, `\n` splits like a
/// space.
public final class TinyTokenizer {
    public static final int BOS = 1;

    private TinyTokenizer() {}

    /// @param bos whether it puts `<s>` before every text
    public static Path write(Path directory, boolean bos) throws IOException {
        StringBuilder vocab = new StringBuilder("\"<unk>\":0,\"<s>\":1,\"</s>\":2");
        for (int i = 0; i < 10; i++) {
            vocab.append(",\"w").append(i).append("\":").append(3 + i);
        }
        String frame =
                """
                {"type":"TemplateProcessing",
                 "single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
                 "pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],
                 "special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}}
                """;
        return Files.writeString(
                directory.resolve("tokenizer.json"),
                """
                {"version":"1.0",
                 "truncation":{"direction":"Right","max_length":3,"strategy":"LongestFirst","stride":0},
                 "padding":{"strategy":{"Fixed":8},"direction":"Right","pad_to_multiple_of":null,"pad_id":2,"pad_type_id":0,"pad_token":"</s>"},
                 "added_tokens":[{"id":1,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
                 "normalizer":null,"pre_tokenizer":{"type":"Whitespace"},"post_processor":%s,"decoder":null,
                 "model":{"type":"WordLevel","vocab":{%s},"unk_token":"<unk>"}}
                """
                        .formatted(bos ? frame : "null", vocab));
    }
}
