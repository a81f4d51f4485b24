// SPDX-License-Identifier: Apache-2.0
package io.llmc.fuzz;

import com.fasterxml.jackson.databind.JsonNode;
import io.llmc.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/// tokenizer.json, which native code reads: what it does wrong may end the process.
final class Tokenizers {
    /// A little of everything that published files have.
    static final String SMALL =
            """
            {"version": "1.0", "truncation": null, "padding": null,
             "added_tokens": [
              {"id": 9, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true}],
             "normalizer": {"type": "Sequence", "normalizers": [
              {"type": "NFC"}, {"type": "Lowercase"}, {"type": "Prepend", "prepend": "_"},
              {"type": "Replace", "pattern": {"String": "a"}, "content": "a"},
              {"type": "Strip", "strip_left": true, "strip_right": false}]},
             "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
              {"type": "Split", "pattern": {"Regex": "\\\\s+|\\\\p{L}+"}, "behavior": "Isolated",
               "invert": false},
              {"type": "Digits", "individual_digits": true},
              {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
               "use_regex": true}]},
             "post_processor": {"type": "TemplateProcessing",
              "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                         {"Sequence": {"id": "A", "type_id": 0}}],
              "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                       {"Sequence": {"id": "B", "type_id": 1}}],
              "special_tokens": {"<s>": {"id": "<s>", "ids": [9], "tokens": ["<s>"]}}},
             "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
              "use_regex": true},
             "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>",
              "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
              "byte_fallback": true, "ignore_merges": false,
              "vocab": {"<unk>": 0, "a": 1, "b": 2, "c": 3, "ab": 4, "abc": 5, "_": 6, " ": 7, "e": 8},
              "merges": [["a", "b"], ["ab", "c"]]}}
            """;

    private static final String UNIGRAM =
            """
            {"version": "1.0", "added_tokens": [], "normalizer": {"type": "NFKC"},
             "pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always",
              "split": true},
             "post_processor": null, "decoder": {"type": "Fuse"},
             "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": false,
              "vocab": [["<unk>", 0.0], ["a", -1.5], ["b", -2.5], ["ab", -2.0], ["_", -3.0]]}}
            """;

    private static final String WORD_PIECE =
            """
            {"version": "1.0", "added_tokens": [],
             "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
              "strip_accents": null, "lowercase": true},
             "pre_tokenizer": {"type": "BertPreTokenizer"},
             "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
             "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
             "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 100,
              "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "##b": 4, "ab": 5}}}
            """;

    private static final List<String> PATTERNS =
            List.of(
                    "(a+)+$",
                    "(a|aa)+$",
                    "(((((((((a",
                    "((?:a*)*)*b",
                    "[",
                    "(?=a)*",
                    "a{1000}{1000}",
                    "(?<=a*)b",
                    "(?i)\\\\p{L}+",
                    "\\\\p{Nope}",
                    "",
                    "^",
                    "(?:)*",
                    "(.*)(.*)(.*)(.*)$",
                    "\\\\1",
                    "(?<n>a)\\\\k<n>",
                    "[\\\\u{110000}]",
                    "(?(1)a|b)",
                    "\\\\g<0>",
                    "(?R)");

    private static final List<String> TEXTS =
            List.of(
                    "a",
                    "ab abc  c\n",
                    "a".repeat(60),
                    "\u00e9\ud83d\ude00 <s> 12",
                    "a a a a a a b",
                    "\0",
                    "",
                    "\u202e\ufeff\u0130\u1e9e",
                    "ab ".repeat(200));

    private Tokenizers() {}

    static Kind kind() {
        return new Kind("tokenizer", 10, 64, true, Tokenizers::open);
    }

    private static Kind.Reader open(Path work) throws IOException {
        List<JsonNode> seeds = new ArrayList<>();
        for (String seed : List.of(SMALL, UNIGRAM, WORD_PIECE)) {
            seeds.add(Trees.JSON.readTree(seed));
        }
        return new Kind.Reader() {
            @Override
            public Kind.Input make(SplittableRandom random) {
                String text = Trees.changed(seeds.get(random.nextInt(seeds.size())), random);
                if (random.nextInt(3) == 0) {
                    String pattern = PATTERNS.get(random.nextInt(PATTERNS.size()));
                    text =
                            text.replaceFirst(
                                    "\"pattern\":\\{[^}]*}",
                                    "\"pattern\":{\"Regex\":\""
                                            + pattern.replace("\\", "\\\\").replace("$", "\\$")
                                            + "\"}");
                }
                return FileInput.of("tokenizer.json", text);
            }

            @Override
            public void read(Kind.Input input) throws Exception {
                input.save(work);
                try (Tokenizer tokenizer = Tokenizer.open(work.resolve("tokenizer.json"))) {
                    for (String text : TEXTS) {
                        tokenizer.decode(tokenizer.encode(text, true));
                    }
                }
            }
        };
    }
}
