// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import io.llmc.formats.HfConfig;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.tokenizer.PromptFile.Prompt;
import io.llmc.tokenizer.Tokenizer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.OptionalInt;
import java.util.Set;
import java.util.stream.IntStream;

/// Where a model's texts begin and end, as generation_config.json has it, or else config.json.
///
/// @param bos what a text without words begins with; empty where the model knows no such token
/// @param ends each of them ends a text
public record SpecialTokens(OptionalInt bos, Set<Integer> ends) {
    private static final String BOS = "bos_token_id";
    private static final String EOS = "eos_token_id";

    public static SpecialTokens of(Checkpoint c) {
        Path file = c.directory().resolve("generation_config.json");
        HfConfig generation = Files.isRegularFile(file) ? HfConfig.read(file) : HfConfig.none(file);
        List<Integer> bos = ids(c, generation, BOS);
        return new SpecialTokens(
                bos.isEmpty() ? OptionalInt.empty() : OptionalInt.of(bos.getFirst()),
                new LinkedHashSet<>(ids(c, generation, EOS)));
    }

    private static List<Integer> ids(Checkpoint c, HfConfig generation, String key) {
        return (generation.has(key) ? generation : c.config()).integers(key);
    }

    /// The ids of a prompt: what the tokenizer puts before every text, unless a chat template has
    /// put it there, and the text.
    ///
    /// @throws UserException where there is nothing that an answer could follow
    public int[] prompt(Tokenizer tokenizer, Prompt prompt) {
        int[] ids = tokenizer.encode(prompt.text(), false);
        OptionalInt first =
                prompt.isChat()
                        ? OptionalInt.empty()
                        : ids.length == 0 && tokenizer.bos().isEmpty() ? bos : tokenizer.bos();
        int[] all = IntStream.concat(first.stream(), IntStream.of(ids)).toArray();
        if (all.length == 0) {
            throw new UserException(
                    "the prompt is empty, and the model knows no token that a text begins with",
                    "give a prompt");
        }
        return all;
    }
}
