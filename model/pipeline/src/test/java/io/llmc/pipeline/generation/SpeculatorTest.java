// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.arch.Architectures;
import io.llmc.model.decoding.CacheSettings;
import io.llmc.model.decoding.Decoder;
import io.llmc.model.decoding.Decoder.Chunk;
import io.llmc.model.decoding.Sequence;
import io.llmc.tensor.DType;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;

class SpeculatorTest {
    private static final int DRAFTED = 4;

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the caller closes it
    private static Backend backend() {
        return new CpuBackend(new BackendOptions(2, BackendOptions.Math.PORTABLE));
    }

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the caller closes it
    private static Decoder decoder(Checkpoint c, Backend backend) {
        var settings = new CacheSettings(400, 1, 64, DType.F32, DRAFTED + 1);
        return Decoder.open(c, Architectures.specOf(c), backend, settings);
    }

    private static int[] greedy(Decoder decoder, int[] prompt, int count) {
        int[] all = Arrays.copyOf(prompt, prompt.length + count);
        try (Sequence s = decoder.sequence()) {
            for (int n = prompt.length; n < all.length; n++) {
                int[] next = Arrays.copyOfRange(all, s.length(), n);
                float[] logits = decoder.step(List.of(new Chunk(s, next, 1)))[0];
                all[n] = new Sampler(SamplingSettings.GREEDY).next(logits, new BitSet(), null);
            }
        }
        return Arrays.copyOfRange(all, prompt.length, all.length);
    }

    private static int[] prompt(int seed, int vocabulary) {
        return new Random(seed).ints(3 + seed % 9, 3, vocabulary).toArray();
    }

    /// Twenty prompts, and a draft that has little in common with the model.
    @Test
    void greedyTextIsThatOfTheModelAlone() {
        try (Checkpoint c = Checkpoint.open(TestFiles.testdata().resolve("tiny-qwen3"));
                Checkpoint other = Checkpoint.open(TestFiles.testdata().resolve("tiny-llama"));
                Backend backend = backend();
                Decoder target = decoder(c, backend);
                Decoder draft = decoder(other, backend)) {
            int vocabulary = Math.min(target.spec().vocabulary(), draft.spec().vocabulary());
            var speculator = new Speculator(target, draft, SamplingSettings.GREEDY, DRAFTED);
            for (int i = 0; i < 20; i++) {
                int[] prompt = prompt(i, vocabulary);
                int[] want = greedy(target, prompt, 24);
                assertThat(speculator.run(i, prompt, 24, Set.of()).ids()).isEqualTo(want);
            }
        }
    }

    @Test
    void aDraftThatIsTheModelIsAlwaysAccepted() {
        try (Checkpoint c = Checkpoint.open(TestFiles.testdata().resolve("tale-llama"));
                Backend backend = backend();
                Decoder target = decoder(c, backend);
                Decoder draft = decoder(c, backend)) {
            for (double temperature : new double[] {0, 1}) {
                var sampling = SamplingSettings.drawing(temperature, 3);
                var speculator = new Speculator(target, draft, sampling, DRAFTED);
                for (int i = 0; i < 5; i++) {
                    Speculator.Text text = speculator.run(i, prompt(i, 200), 31, Set.of());
                    assertThat(text.ids()).hasSize(31);
                    assertThat(text.accepted()).isEqualTo(text.offered());
                    assertThat(text.passes()).isEqualTo(7);
                }
            }
        }
    }

    @Test
    void theTextEndsWithTheFirstEndToken() {
        try (Checkpoint c = Checkpoint.open(TestFiles.testdata().resolve("tale-llama"));
                Backend backend = backend();
                Decoder target = decoder(c, backend);
                Decoder draft = decoder(c, backend)) {
            int[] prompt = prompt(4, 200);
            int[] all = greedy(target, prompt, 20);
            var speculator = new Speculator(target, draft, SamplingSettings.GREEDY, DRAFTED);
            int at = 9;
            int[] want = Arrays.copyOf(all, first(all, all[at]) + 1);
            assertThat(speculator.run(0, prompt, 20, Set.of(all[at])).ids()).isEqualTo(want);
        }
    }

    private static int first(int[] ids, int id) {
        int i = 0;
        while (ids[i] != id) {
            i++;
        }
        return i;
    }

    /// Pearson's chi-square over triples of tokens of a small vocabulary, drafted from other
    /// distributions: 124 degrees of freedom, exceeded by chance once in a hundred thousand.
    @Test
    void sampledTextHasTheModelsDistribution() {
        Random random = new Random(11);
        List<Distribution> p = distributions(random, 4);
        List<Distribution> q = distributions(random, 3);
        int draws = 200_000;
        int[] seen = new int[125];
        Draws source = new Draws(5, 0);
        for (int n = 0; n < draws; n++) {
            // Three tokens from as many passes as it takes; positions are independent here.
            List<Integer> text = new ArrayList<>();
            while (text.size() < 3) {
                int at = text.size();
                List<Integer> drafted = new ArrayList<>();
                for (int i = at; i < 3; i++) {
                    drafted.add(q.get(i).draw(source.next()));
                }
                Acceptance a = Acceptance.of(p.subList(at, 4), q.subList(at, 3), drafted, source);
                text.addAll(drafted.subList(0, a.accepted()));
                text.add(a.next());
            }
            seen[text.get(0) * 25 + text.get(1) * 5 + text.get(2)]++;
        }
        double chiSquare = 0;
        for (int i = 0; i < seen.length; i++) {
            double expected =
                    draws * p.get(0).of(i / 25) * p.get(1).of(i / 5 % 5) * p.get(2).of(i % 5);
            chiSquare += (seen[i] - expected) * (seen[i] - expected) / expected;
        }
        assertThat(chiSquare).isLessThan(203);
    }

    private static List<Distribution> distributions(Random random, int count) {
        List<Distribution> all = new ArrayList<>();
        for (int n = 0; n < count; n++) {
            double[] p = random.doubles(5, 0.1, 1).toArray();
            double sum = Arrays.stream(p).sum();
            all.add(
                    new Distribution(
                            new int[] {0, 1, 2, 3, 4},
                            Arrays.stream(p).map(x -> x / sum).toArray()));
        }
        return all;
    }
}
