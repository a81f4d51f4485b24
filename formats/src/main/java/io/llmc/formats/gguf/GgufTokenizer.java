// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gguf;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.ConfigSection;
import io.llmc.formats.Range;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// The byte-level BPE tokenizer in the metadata of a GGUF file, as a tokenizer.json, and the chat
/// template beside it.
///
/// SentencePiece vocabularies are not made into one: llama.cpp splits with them otherwise than the
/// tokenizer.json that a model was published with, where that was no SentencePiece model.
///
/// @param metadata of the whole file
record GgufTokenizer(ConfigSection metadata) {
    private static final String PREFIX = "tokenizer.ggml.";
    private static final String TOKENS = PREFIX + "tokens";
    private static final String TYPES = PREFIX + "token_type";
    private static final String MERGES = PREFIX + "merges";
    private static final String TEMPLATE = "tokenizer.chat_template";

    /// What templates call a token, and the key of its id.
    private static final Map<String, String> NAMED =
            Map.of(
                    "bos_token", "bos_token_id",
                    "eos_token", "eos_token_id",
                    "unk_token", "unknown_token_id",
                    "pad_token", "padding_token_id");

    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private static final int CONTROL = 3;
    private static final int USER_DEFINED = 4;
    private static final int UNUSED = 5;

    /// What llama.cpp knows by the name in `tokenizer.ggml.pre`: how a text is cut before merging.
    ///
    /// @param pattern of the pieces; null for GPT-2's
    /// @param digits one by one
    /// @param composes characters to Unicode's NFC
    /// @param whole tokens of the vocabulary need no merges
    /// @param bos before every text, where the file does not say
    private record Pre(
            String name,
            String pattern,
            boolean digits,
            boolean composes,
            boolean whole,
            boolean bos) {}

    private static final String LLAMA =
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}%s"
                    + "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

    private static final List<Pre> ALL =
            List.of(
                    new Pre("gpt-2", null, false, false, false, false),
                    new Pre("llama-bpe", LLAMA.formatted("{1,3}"), false, false, true, true),
                    new Pre("qwen2", LLAMA.formatted(""), false, true, false, false),
                    new Pre("refact", null, true, false, false, false),
                    new Pre("smollm", null, true, false, false, false),
                    new Pre("starcoder", null, true, false, false, false));

    /// Empty where the file has none, or one of a kind that is not known here.
    Optional<String> json() {
        String model = metadata.text(PREFIX + "model", "");
        String pre = metadata.text(PREFIX + "pre", "");
        return ALL.stream()
                .filter(p -> model.equals("gpt2") && p.name.equals(pre))
                .findFirst()
                .map(this::json);
    }

    /// The ids that begin and end a text, as far as the file has them, as a generation_config.json;
    /// of every kind of vocabulary.
    String ends() {
        ObjectNode root = JSON.objectNode();
        for (String name : List.of("bos_token_id", "eos_token_id")) {
            if (metadata.has(PREFIX + name)) {
                root.put(name, metadata.integer(PREFIX + name, Range.zeroTo(Integer.MAX_VALUE)));
            }
        }
        return root.toString();
    }

    /// How conversations are written, and the texts of the tokens that templates name, as a
    /// tokenizer_config.json; of every kind of vocabulary.
    String settings() {
        ObjectNode root = JSON.objectNode();
        if (metadata.has(TEMPLATE)) {
            root.put("chat_template", metadata.text(TEMPLATE));
            ArrayNode tokens = texts(TOKENS);
            NAMED.forEach((name, id) -> {
                if (metadata.has(PREFIX + id)) {
                    Range range = Range.zeroTo(tokens.size() - 1);
                    root.set(name, tokens.get(metadata.integer(PREFIX + id, range)));
                }
            });
        }
        return root.toString();
    }

    private String json(Pre pre) {
        ObjectNode root = JSON.objectNode().put("version", "1.0");
        root.putNull("truncation").putNull("padding");
        ArrayNode added = root.putArray("added_tokens");
        root.set("normalizer", pre.composes ? type("NFC") : JSON.nullNode());
        root.set("pre_tokenizer", cuts(pre));
        root.set("post_processor", frame(pre));
        root.set("decoder", bytes(true));
        ObjectNode bpe = root.putObject("model").put("type", "BPE");
        for (String absent :
                List.of(
                        "dropout",
                        "unk_token",
                        "continuing_subword_prefix",
                        "end_of_word_suffix")) {
            bpe.putNull(absent);
        }
        bpe.put("fuse_unk", false).put("byte_fallback", false).put("ignore_merges", pre.whole);
        addTokens(bpe.putObject("vocab"), added);
        bpe.set("merges", texts(MERGES));
        return root.toString();
    }

    private static ObjectNode type(String type) {
        return JSON.objectNode().put("type", type);
    }

    private static ObjectNode bytes(boolean pieces) {
        return type("ByteLevel")
                .put("add_prefix_space", false)
                .put("trim_offsets", true)
                .put("use_regex", pieces);
    }

    private static ObjectNode cuts(Pre pre) {
        if (pre.pattern == null && !pre.digits) {
            return bytes(true);
        }
        ObjectNode sequence = type("Sequence");
        ArrayNode steps = sequence.putArray("pretokenizers");
        if (pre.digits) {
            steps.add(type("Digits").put("individual_digits", true));
        } else {
            ObjectNode split = steps.addObject().put("type", "Split");
            split.putObject("pattern").put("Regex", pre.pattern);
            split.put("behavior", "Isolated").put("invert", false);
        }
        steps.add(bytes(pre.digits));
        return sequence;
    }

    /// The tokens around every text; null where there are none.
    private JsonNode frame(Pre pre) {
        ObjectNode template = type("TemplateProcessing");
        ArrayNode single = template.putArray("single");
        ObjectNode specials = JSON.objectNode();
        if (metadata.flag(PREFIX + "add_bos_token", pre.bos)) {
            special(single, specials, "bos");
        }
        single.addObject().putObject("Sequence").put("id", "A").put("type_id", 0);
        if (metadata.flag(PREFIX + "add_eos_token", false)) {
            special(single, specials, "eos");
        }
        template.putArray("pair")
                .addAll(single)
                .addObject()
                .putObject("Sequence")
                .put("id", "B")
                .put("type_id", 1);
        template.set("special_tokens", specials);
        return specials.isEmpty() ? JSON.nullNode() : template;
    }

    private void special(ArrayNode single, ObjectNode specials, String name) {
        ArrayNode tokens = texts(TOKENS);
        String key = PREFIX + name + "_token_id";
        int id = metadata.integer(key, Range.zeroTo(Math.max(0, tokens.size() - 1)));
        String token = tokens.path(id).asText();
        single.addObject().putObject("SpecialToken").put("id", token).put("type_id", 0);
        ObjectNode special = specials.putObject(token).put("id", token);
        special.putArray("ids").add(id);
        special.putArray("tokens").add(token);
    }

    private void addTokens(ObjectNode vocabulary, ArrayNode added) {
        ArrayNode tokens = texts(TOKENS);
        JsonNode types = metadata.values().path(TYPES);
        for (int id = 0; id < tokens.size(); id++) {
            String token = tokens.get(id).textValue();
            int type = types.path(id).asInt(1);
            // The converter fills the embedding's rows that no token has.
            if (type == UNUSED || token.equals("[PAD%d]".formatted(id))) {
                continue;
            }
            if (vocabulary.has(token)) {
                throw metadata.wrong(TOKENS, "no token twice, as '%s'".formatted(token));
            }
            vocabulary.put(token, id);
            if (type == CONTROL || type == USER_DEFINED) {
                added.addObject()
                        .put("id", id)
                        .put("content", token)
                        .put("single_word", false)
                        .put("lstrip", false)
                        .put("rstrip", false)
                        .put("normalized", false)
                        .put("special", type == CONTROL);
            }
        }
    }

    private ArrayNode texts(String key) {
        if (metadata.values().path(key) instanceof ArrayNode list
                && list.valueStream().allMatch(JsonNode::isTextual)) {
            return list;
        }
        throw metadata.wrong(key, "a list of texts");
    }
}
