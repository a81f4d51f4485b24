// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/// Texts to be continued. In a plain file every line that is not empty is one; a file whose name
/// ends in `.jsonl`, `.ndjson` or `.json` holds records: see [Records].
public final class PromptFile {
    /// @param text what the model reads
    /// @param isChat written by a chat template, which puts BOS there itself
    public record Prompt(String text, boolean isChat) {}

    private PromptFile() {}

    /// Every prompt, in order.
    ///
    /// @param model whose chat template writes out messages
    /// @throws UserException where the file cannot be read or holds no prompt
    /// @throws FormatException naming the line of what is no record
    public static List<Prompt> read(Path file, Checkpoint model) {
        Utf8 text = Utf8.open(file);
        List<Prompt> prompts =
                TextFiles.RECORDS.contains(TextFiles.extension(file))
                        ? records(file, text, model)
                        : lines(file, text);
        if (prompts.isEmpty()) {
            throw new UserException(
                    file + ": holds no prompt",
                    "name a .txt file with a prompt in every line, or a .jsonl file with \"prompt\""
                            + " or \"messages\" in every line");
        }
        return prompts;
    }

    private static List<Prompt> lines(Path file, Utf8 text) {
        if (Records.ofPromptsAreThere(text)) {
            throw new UserException(
                    file
                            + ": holds JSON records with \"prompt\" or \"messages\", but its name"
                            + " is that of a plain text",
                    "rename it so that it ends in .jsonl, or in .json where it is one array");
        }
        return text.text(text.start(), text.end())
                .lines()
                .filter(line -> !line.isBlank())
                .map(line -> new Prompt(line, false))
                .toList();
    }

    private static List<Prompt> records(Path file, Utf8 text, Checkpoint model) {
        Records records =
                Records.ofPrompts(
                        file, text, model.directory(), ChatTemplate.open(model).orElse(null));
        List<Prompt> prompts = new ArrayList<>();
        for (String prompt = records.next(); prompt != null; prompt = records.next()) {
            prompts.add(new Prompt(prompt, records.isConversation()));
        }
        return prompts;
    }
}
