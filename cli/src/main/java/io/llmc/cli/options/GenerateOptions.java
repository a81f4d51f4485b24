// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import io.llmc.model.decoding.CacheType;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import io.llmc.tensor.DType;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.TypeConversionException;

/// Mixin: what is continued, and where a text ends.
public final class GenerateOptions {
    @Option(names = "--prompt", paramLabel = "TEXT", description = "The text to continue.")
    private String prompt;

    @Option(
            names = "--prompts",
            paramLabel = "FILE",
            description =
                    "Texts to continue: one a line (.txt), or records with \"prompt\" or \"messages\""
                            + " (.jsonl). Prints a line of JSON for each.")
    private Path prompts;

    @Option(
            names = "--chat",
            description =
                    "Write prompts as a user's messages, through the model's chat template. Without a"
                            + " prompt: a conversation, a line of standard input at a time.")
    private boolean chat;

    @Option(
            names = "--system",
            paramLabel = "TEXT",
            description = "With --chat: what the model is told first.")
    private String system;

    @Option(
            names = "--stop",
            paramLabel = "TEXT",
            description = "End before this text; may be repeated.")
    private List<String> stops = List.of();

    @Option(
            names = "--batch",
            paramLabel = "N",
            defaultValue = "8",
            description = "With --prompts: texts at a time (default: ${DEFAULT-VALUE}).")
    private int batch;

    @Option(
            names = "--context",
            paramLabel = "N",
            defaultValue = "4096",
            description =
                    "In a conversation: tokens that have place in it, all messages together (default:"
                            + " ${DEFAULT-VALUE}, or the model's positions where those are fewer).")
    private int context;

    @Option(
            names = "--kv-cache",
            paramLabel = "TYPE",
            converter = CacheConverter.class,
            description =
                    "How cached keys and values are kept: f32, bf16, f16, or int8 or fp8 with a scale"
                            + " for each token of a head (default: f32).")
    private CacheType cache = CacheType.F32;

    /// @throws RecipeException where they do not go together
    public Request toRequest() {
        if (prompt != null && prompts != null) {
            throw new RecipeException("--prompts", "--prompt is given, too; leave one out");
        }
        if (prompt == null && prompts == null && !chat) {
            throw new RecipeException(
                    "--prompt",
                    "a text is needed, or --prompts FILE, or --chat for a conversation");
        }
        if (system != null && !chat) {
            throw new RecipeException(
                    "--system", "only a chat template has a place for it; give --chat, too");
        }
        if (stops.contains("")) {
            throw new RecipeException("--stop", "is empty, expected a text");
        }
        atLeastOne("--batch", batch);
        atLeastOne("--context", context);
        return new Request(
                Optional.ofNullable(prompt),
                Optional.ofNullable(prompts),
                chat,
                Optional.ofNullable(system),
                List.copyOf(stops),
                batch,
                context,
                cache.dtype());
    }

    static final class CacheConverter implements ITypeConverter<CacheType> {
        @Override
        public CacheType convert(String text) {
            return Arrays.stream(CacheType.values())
                    .filter(type -> Options.spelling(type).equals(text))
                    .findFirst()
                    .orElseThrow(() ->
                            new TypeConversionException(
                                    "expected one of %s, not \"%s\""
                                            .formatted(
                                                    Arrays.stream(CacheType.values())
                                                            .map(Options::spelling)
                                                            .collect(Collectors.joining(", ")),
                                                    text)));
        }
    }

    private static void atLeastOne(String flag, int value) {
        if (value < 1) {
            throw new RecipeException(flag, "is %d, expected at least 1".formatted(value));
        }
    }

    /// Neither `prompt` nor `prompts` is a conversation.
    ///
    /// @param batch texts at a time
    /// @param context tokens of a conversation
    /// @param cache type of cached keys and values
    public record Request(
            Optional<String> prompt,
            Optional<Path> prompts,
            boolean chat,
            Optional<String> system,
            List<String> stops,
            int batch,
            int context,
            DType cache) {
        public boolean isConversation() {
            return prompt.isEmpty() && prompts.isEmpty();
        }
    }
}
