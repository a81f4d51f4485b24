// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/// Which files of a model directory belong to the model whatever its weights are: the tokenizer,
/// the chat template, generation defaults, the licence.
public final class SideFiles {
    private static final Pattern TRAVELS =
            Pattern.compile(
                    "tokenizer.*|vocab\\.(json|txt)|merges\\.txt|added_tokens\\.json"
                            + "|special_tokens_map\\.json|tekken\\.json|.*\\.tiktoken"
                            + "|(spiece|sentencepiece.*)\\.model|chat_template.*"
                            + "|generation_config\\.json|(video_)?preprocessor_config\\.json"
                            + "|processor_config\\.json"
                            + "|(licen[cs]e|notice|readme|copying|use_policy|acceptable_use).*"
                            + "|.*terms.*\\.(html|md|txt)");
    private static final Pattern NEVER =
            Pattern.compile(
                    ".*\\.(bin|pt|pth|ckpt|gguf|onnx|safetensors|h5|msgpack|npz|py|pyc|lock|part|incomplete)");

    private SideFiles() {}

    /// By name.
    public static List<Path> of(Path directory) {
        try (Stream<Path> files = Files.list(directory)) {
            return files.filter(Files::isRegularFile).filter(SideFiles::travels).sorted().toList();
        } catch (IOException e) {
            throw Json.unreadable(directory, e);
        }
    }

    private static boolean travels(Path file) {
        String name = file.getFileName().toString().toLowerCase(Locale.ROOT);
        return TRAVELS.matcher(name).matches() && !NEVER.matcher(name).matches();
    }
}
