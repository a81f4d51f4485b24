// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.evaluation.kld.KldBase;
import io.llmc.evaluation.kld.KldShape;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.pipeline.Progress;
import io.llmc.tokenizer.TinyTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Evaluations that make a base of llama.cpp, and that compare with one.
class BaseFilesTest {
    private static final Portions SMALL = new Portions(1, 50, 1, 7);
    private static final int WINDOW = 17;

    @TempDir Path temp;
    private Path model;
    private Path other;
    private Path data;
    private Path base;

    @BeforeEach
    void makeModels() throws IOException {
        model = copy("tiny-llama", "model", true);
        other = copy("tiny-qwen3", "other", true);
        data = text(150, 11);
        base = temp.resolve("other.kld");
    }

    private Path text(int words, int seed) throws IOException {
        Random random = new Random(seed);
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < words; i++) {
            text.append('w').append(random.nextInt(10)).append(' ');
        }
        return Files.writeString(temp.resolve("text" + words + seed + ".txt"), text);
    }

    private Path copy(String name, String as, boolean bos) throws IOException {
        Path to = Files.createDirectory(temp.resolve(as));
        for (String file : List.of("config.json", "model.safetensors")) {
            Files.copy(TestFiles.testdata().resolve(name).resolve(file), to.resolve(file));
        }
        TinyTokenizer.write(to, bos);
        return to;
    }

    private EvalSpec saving(Path of) {
        return new EvalSpec(of, null, data, WINDOW, null, 0, 0, null, base);
    }

    private EvalSpec comparing(Path text) {
        return new EvalSpec(model, null, text, 0, null, 0, 0, base, null);
    }

    private static EvalResult evaluate(EvalSpec spec) {
        try (CpuBackend backend =
                new CpuBackend(new BackendOptions(2, BackendOptions.Math.PORTABLE))) {
            return new Evaluator(backend, Progress.NONE, SMALL).evaluate(spec);
        }
    }

    @Test
    void aBaseStandsForTheOriginal() {
        EvalResult saved = evaluate(saving(other));
        EvalResult byBase = evaluate(comparing(data));
        EvalResult byModel =
                evaluate(new EvalSpec(model, other, data, WINDOW, Convention.LLAMA_CPP, 0, 0));
        assertThat(byBase.spec().window()).isEqualTo(WINDOW);
        assertThat(byBase.tokens()).isEqualTo(byModel.tokens()).isEqualTo(8 * 8);
        assertThat(byBase.model().loss()).isEqualTo(byModel.model().loss());
        assertThat(byBase.comparison().original().value())
                .isCloseTo(saved.model().perplexity(), within(0.01));
        byModel.figures()
                .forEach((name, value) -> {
                    if (name.matches("(kld|delta|perplexity|top1|log|loss).*")
                            && value instanceof Double expected) {
                        assertThat((Double) byBase.figures().get(name))
                                .as(name)
                                .isCloseTo(expected, within(2e-4 * Math.max(1, expected)));
                    }
                });
        assertThat(byBase.figures()).containsEntry("kld_base", base.toString());
        assertThat(byBase.figures()).doesNotContainKeys("original", "size_ratio");
    }

    @Test
    void aBaseNeedsNoTextAndMayBeUsedInPart() {
        evaluate(saving(other));
        EvalResult whole = evaluate(comparing(null));
        assertThat(whole.comparison().drift().divergence().sorted())
                .isEqualTo(evaluate(comparing(data)).comparison().drift().divergence().sorted());
        EvalResult part = evaluate(new EvalSpec(model, null, null, 0, null, 0, 3, base, null));
        assertThat(part.windows()).isEqualTo(3);
        assertThat(part.tokens()).isEqualTo(3 * 8);
    }

    /// The file holds the text's own ids; BOS takes the first of every window only in the model.
    @Test
    void theFileHoldsTheTextWithBosBeforeIt() {
        evaluate(saving(other));
        try (KldBase read = KldBase.open(base)) {
            assertThat(read.shape()).isEqualTo(new KldShape(WINDOW, 256, 8));
            assertThat(read.ids()[0]).isEqualTo(TinyTokenizer.BOS);
            for (int i = 1; i < read.ids().length; i++) {
                assertThat(read.ids()[i]).isBetween(3, 12);
            }
        }
    }

    @Test
    void anotherTextIsRefused() throws IOException {
        evaluate(saving(other));
        Path different = text(150, 12);
        assertThatThrownBy(() -> evaluate(comparing(different)))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("other.kld is the base of another text: its token ");
        Path shorter = text(100, 11);
        assertThatThrownBy(() -> evaluate(comparing(shorter)))
                .isInstanceOf(UserException.class)
                .hasMessageMatching(".*of another text: it has 136 tokens, .*txt has 101");
    }

    @Test
    void anotherVocabularyIsRefused() {
        Path f16 = TestFiles.shared("oracles/kld/f16.kld");
        assumeTrue(Files.exists(f16), "no oracles beside the checkout");
        assertThatThrownBy(
                        () -> evaluate(new EvalSpec(model, null, null, 0, null, 0, 0, f16, null)))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("f16.kld is a base over a vocabulary of 2,048 tokens, ")
                .hasMessageContaining("has one of 256");
    }

    @Test
    void whatABaseDecidesCannotBeAskedOtherwise() {
        evaluate(saving(other));
        refused(new EvalSpec(model, null, data, 16, null, 0, 0, base, null), "{window} is 16");
        assertThatThrownBy(
                        () -> new EvalSpec(model, null, data, 0, Convention.GPTQ, 0, 0, base, null))
                .hasMessageContaining("{convention} is gptq");
        assertThatThrownBy(() -> new EvalSpec(model, other, data, 0, null, 0, 0, base, null))
                .hasMessageContaining("{kldBase} and {against}");
        assertThatThrownBy(() -> new EvalSpec(model, other, data, 0, null, 0, 0, null, base))
                .hasMessageContaining("{saveKldBase} keeps the predictions of one model");
    }

    private static void refused(EvalSpec spec, String words) {
        assertThatThrownBy(() -> evaluate(spec))
                .isInstanceOf(UserException.class)
                .hasMessageContaining(words);
    }

    @Test
    void whereNoFileCanBeWrittenNothingIsMeasured() {
        base = temp.resolve("none/other.kld");
        refused(saving(other), "no file can be written there");
    }

    /// TinyStories in F16 against what llama.cpp's own run of that file predicted: the oracle's
    /// README has the perplexity that float32 arithmetic gives, and llama.cpp's of Q8_0 differs by
    /// its 8-bit activations.
    @ParameterizedTest
    @ValueSource(strings = {"F16", "Q8_0"})
    void modelsInGgufAgainstABaseOfLlamaCpp(String type) {
        Path f16 = TestFiles.shared("oracles/kld/f16.kld");
        Path gguf = TestFiles.shared("oracles/gguf/tiny/TinyStories-656K-" + type + ".gguf");
        assumeTrue(Files.exists(gguf) && Files.exists(f16), "no oracles beside the checkout");
        EvalResult r = evaluate(new EvalSpec(gguf, null, null, 0, null, 0, 0, f16, null));
        Drift drift = r.comparison().drift();
        assertThat(r.tokens()).isEqualTo(126);
        assertThat(r.comparison().original().value()).isCloseTo(74.635815, within(1e-5));
        if (type.equals("F16")) {
            assertThat(r.model().perplexity()).isCloseTo(74.6539, within(5e-4));
            assertThat(drift.divergence().mean()).isCloseTo(0, within(5e-6));
            assertThat(drift.divergence().max()).isLessThan(1e-4);
            assertThat(drift.top1()).isEqualTo(1);
        } else {
            assertThat(drift.divergence().mean()).isBetween(1e-4, 0.000996);
            assertThat(drift.rms()).isBetween(0.001, 0.00456);
        }
    }
}
