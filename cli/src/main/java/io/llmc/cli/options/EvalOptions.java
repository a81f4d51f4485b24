// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import io.llmc.evaluation.Convention;
import io.llmc.evaluation.EvalSpec;
import io.llmc.evaluation.blame.BlameStep;
import io.llmc.evaluation.blame.Unit;
import io.llmc.formats.UserException;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Objects;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.stream.Stream;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.TypeConversionException;

/// Mixin: the text that a model is measured on, and how.
public final class EvalOptions {
    @Option(
            names = "--data",
            paramLabel = "FILE",
            description = "Text (.txt), or records with \"text\" or \"messages\" (.jsonl).")
    private Path data;

    @Option(
            names = "--against",
            paramLabel = "ORIGINAL",
            description = "Model that this one was made from: shows what was lost.")
    private Path against;

    @Option(
            names = "--window",
            paramLabel = "N",
            defaultValue = "0",
            description =
                    "Tokens that the model sees at once (default: 512, or as --kld-base has it).")
    private int window;

    @Option(
            names = "--convention",
            paramLabel = "NAME",
            converter = ConventionConverter.class,
            description =
                    "Which tokens of a window count: gptq (all), llama.cpp (the second half),"
                            + " sliding (those that the window before did not reach) (default: gptq;"
                            + " with KLD bases: llama.cpp).")
    private Convention convention;

    @Option(
            names = "--stride",
            paramLabel = "N",
            defaultValue = "0",
            description = "sliding: tokens from one window to the next (default: half a window).")
    private int stride;

    @Option(
            names = "--max-windows",
            paramLabel = "N",
            defaultValue = "0",
            description = "Only the first windows of the text (default: all).")
    private int maxWindows;

    @Option(
            names = "--kld-base",
            paramLabel = "FILE",
            description =
                    "Predictions of the original that --save-kld-base or llama-perplexity kept:"
                            + " shows what was lost, without the original; brings text and window.")
    private Path kldBase;

    @Option(
            names = "--save-kld-base",
            paramLabel = "FILE",
            description = "Keep the model's predictions for others to be compared with.")
    private Path saveKldBase;

    @Option(
            names = "--blame",
            paramLabel = "blocks|layers",
            arity = "0..1",
            fallbackValue = "blocks",
            converter = UnitConverter.class,
            description =
                    "Also show what each block or each linear layer costs: its divergence in the"
                            + " place of the original's, on the first windows of the text (default:"
                            + " blocks; 4 windows, or --max-windows).")
    private Unit blame;

    /// The text, or the prompts; null for none.
    public Path data() {
        return data;
    }

    /// Refuses what would measure a text where `--data` holds prompts.
    ///
    /// @param compares whether something else is measured on the original
    public void requireNoText(boolean compares) {
        SequencedMap<String, Boolean> given = new LinkedHashMap<>();
        given.put("--kld-base", kldBase != null);
        given.put("--save-kld-base", saveKldBase != null);
        given.put("--window", window != 0);
        given.put("--convention", convention != null);
        given.put("--stride", stride != 0);
        given.put("--max-windows", maxWindows != 0);
        given.put("--blame", blame != null);
        given.put("--against", against != null && !compares);
        given.forEach((flag, there) -> {
            if (there) {
                throw new RecipeException(
                        flag,
                        "is about a text, but with --draft, --data holds prompts; leave one out");
            }
        });
    }

    /// The original; null for none.
    public Path against() {
        return against;
    }

    /// Empty where there is no text to measure on.
    ///
    /// @param needed whether an original can only be for a text
    public Optional<EvalSpec> toEvalSpec(Path model, boolean needed) {
        return Stream.of(data, needed ? against : null, kldBase, saveKldBase)
                        .allMatch(Objects::isNull)
                ? Optional.empty()
                : Optional.of(
                        new EvalSpec(
                                model,
                                against,
                                data,
                                window,
                                convention,
                                stride,
                                maxWindows,
                                kldBase,
                                saveKldBase));
    }

    /// Empty where nothing is to be blamed.
    ///
    /// @param spec of the text
    /// @throws RecipeException where something to compare on or with is missing
    public Optional<BlameStep> toBlame(Optional<EvalSpec> spec) {
        if (blame == null) {
            return Optional.empty();
        }
        if (against == null) {
            throw new RecipeException(
                    "--blame", "parts go into the original: name it with --against");
        }
        if (spec.isEmpty()) {
            throw new RecipeException("--blame", "a text is needed: name one with --data");
        }
        return Optional.of(BlameStep.of(spec.get(), blame));
    }

    static final class UnitConverter implements ITypeConverter<Unit> {
        @Override
        public Unit convert(String text) {
            return Arrays.stream(Unit.values())
                    .filter(u -> Options.spelling(u).equals(text))
                    .findFirst()
                    .orElseThrow(() ->
                            new TypeConversionException(
                                    "expected blocks or layers, not \""
                                            + text
                                            + "\"; put the model before --blame"));
        }
    }

    static final class ConventionConverter implements ITypeConverter<Convention> {
        @Override
        public Convention convert(String text) {
            try {
                return Convention.parse(text);
            } catch (UserException e) {
                throw new TypeConversionException(e.getMessage() + "; " + e.hint());
            }
        }
    }
}
