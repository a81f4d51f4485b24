// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.Desk;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import io.llmc.solver.Gram;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.Windows;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SumTreeTest {
    @TempDir private Path dir;

    /// Writes down who was merged with whom, and how many partials there are.
    private static final class Written implements Observer<String, String> {
        private final Set<String> held = new HashSet<>();
        private int most;
        private int made;

        private String hold(String s) {
            held.add(s);
            most = Math.max(most, held.size());
            return s;
        }

        @Override
        public String empty(Desk d) {
            return hold("#" + made++);
        }

        @Override
        public String see(String s, String x) {
            held.remove(s);
            return hold(s.startsWith("#") ? x : s + x);
        }

        @Override
        public String merge(String a, String b) {
            held.remove(a);
            held.remove(b);
            return hold("(" + a + " " + b + ")");
        }
    }

    /// The tree of the leaves `from` to `to`, of which the first is a multiple of the height's
    /// power of two: written recursively, from the top.
    private static String tree(List<String> leaves, int from, int to) {
        if (to - from == 1) {
            return leaves.get(from);
        }
        int left = Integer.highestOneBit(to - from - 1);
        return "(" + tree(leaves, from, from + left) + " " + tree(leaves, from + left, to) + ")";
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 4, 5, 8, 13, 16, 31, 64, 100})
    void leavesAreMergedInOneTree(int chunks) {
        try (Backend backend =
                new CpuBackend(new BackendOptions(1, BackendOptions.Math.PORTABLE))) {
            for (int of : new int[] {1, 3}) {
                List<String> leaves = new ArrayList<>();
                Written written = new Written();
                try (SumTree<String, String> tree = new SumTree<>(written, backend, of)) {
                    for (int c = 0; c < chunks; c++) {
                        if (c % of == 0) {
                            leaves.add("");
                        }
                        String x = Character.toString(0x4e00 + c);
                        leaves.set(c / of, leaves.getLast() + x);
                        tree.see(c, x);
                    }
                    assertThat(tree.total()).isEqualTo(tree(leaves, 0, leaves.size()));
                }
                int bound = 1 + Integer.SIZE - Integer.numberOfLeadingZeros(leaves.size() - 1);
                assertThat(written.most).isLessThanOrEqualTo(leaves.size() == 1 ? 1 : bound);
            }
        }
    }

    /// Experts may see nothing of a leaf: what they see stays in its place.
    @Test
    void aLeafOfNothingLeavesTheOthersWhereTheyAre() {
        try (Backend backend = new CpuBackend(new BackendOptions(1, BackendOptions.Math.PORTABLE));
                SumTree<String, String> tree = new SumTree<>(new Written(), backend, 1)) {
            tree.see(1, "b");
            tree.see(2, "c");
            tree.see(5, "f");
            tree.see(6, "g");
            assertThat(tree.total()).isEqualTo("((b c) (f g))");
        }
    }

    @Test
    void ofNothingThereIsTheEmptyPartial() {
        try (Backend backend = new CpuBackend(new BackendOptions(1, BackendOptions.Math.PORTABLE));
                SumTree<Tensor, Gram.Sum> tree = new SumTree<>(new Gram(2), backend)) {
            assertThat(tree.total().tokens()).isZero();
            assertThat(backend.floats(tree.total().h())).containsOnly(0);
        }
    }

    @ParameterizedTest
    @CsvSource({"1,2048,1", "32,2048,1", "33,2048,2", "64,2048,2", "65,2048,3", "128,2048,3"})
    void partialsAreCounted(int windows, int length, int partials) {
        assertThat(SumTree.partials(windows, length)).isEqualTo(partials);
        assertThat(SumTree.partials(4 * windows, length / 4)).isEqualTo(partials);
    }

    /// Sums of floats, so that another tree would give other bytes.
    @Test
    void sumsDependOnNeitherThreadsNorPlacesNorWhoAddsUpWhat() {
        float[] want = grams(1, null, 1);
        assertThat(grams(1, null, 8)).as("pairs of the same leaves").isEqualTo(want);
        assertThat(inOneGo()).as("no tree").isNotEqualTo(want);
        assertThat(grams(2, null, 1)).isEqualTo(want);
        assertThat(grams(2, dir, 1)).isEqualTo(want);
        assertThat(grams(2, null, 2)).isEqualTo(want);
        assertThat(grams(2, dir, 4)).isEqualTo(want);
    }

    private static final int CHUNKS = 7;
    private static final int LENGTH = 512;

    private static int[] ids() {
        int rows = CHUNKS * HiddenStates.windowsPerChunk(LENGTH) * LENGTH;
        return new Random(5).ints(rows, 0, 1024).toArray();
    }

    @SuppressWarnings("MustBeClosed") // all are resources of the try
    private static float[] inOneGo() {
        var options = new BackendOptions(1, BackendOptions.Math.PORTABLE);
        try (Backend backend = new CpuBackend(options);
                Checkpoint c = Checkpoint.open(TestFiles.testdata().resolve("tale-llama"));
                LanguageModel model = new LanguageModel(c, Architectures.specOf(c), backend);
                HiddenStates states = new HiddenStates(model, Windows.of(ids(), LENGTH), null);
                var sums = new SumTree<>(new Gram(model.spec().hidden()), backend, CHUNKS)) {
            states.embed();
            states.forEach((x, chunk) -> sums.see(chunk, x));
            return backend.floats(sums.total().h());
        }
    }

    /// Of embedded sequences, a chunk a leaf.
    ///
    /// @param machines of which each adds up whole subtrees of the same height, and who then are
    ///   merged
    @SuppressWarnings("MustBeClosed") // all are resources of the try
    private static float[] grams(int threads, Path spill, int machines) {
        int[] ids = ids();
        var options = new BackendOptions(threads, BackendOptions.Math.PORTABLE);
        try (Backend backend = new CpuBackend(options);
                Checkpoint c = Checkpoint.open(TestFiles.testdata().resolve("tale-llama"));
                LanguageModel model = new LanguageModel(c, Architectures.specOf(c), backend);
                HiddenStates states = new HiddenStates(model, Windows.of(ids, LENGTH), spill)) {
            states.embed();
            Gram gram = new Gram(model.spec().hidden());
            // Eight places of leaves, of which the last stays empty.
            int each = 8 / machines;
            List<SumTree<Tensor, Gram.Sum>> parts = new ArrayList<>();
            for (int m = 0; m < machines; m++) {
                parts.add(new SumTree<>(gram, backend, 1));
            }
            states.forEach((x, chunk) -> parts.get(chunk / each).see(chunk % each, x));
            List<Gram.Sum> sums = parts.stream().map(SumTree::total).toList();
            while (sums.size() > 1) {
                List<Gram.Sum> pairs = new ArrayList<>();
                for (int i = 0; i < sums.size(); i += 2) {
                    pairs.add(gram.merge(sums.get(i), sums.get(i + 1)));
                }
                sums = pairs;
            }
            assertThat(sums.getFirst().tokens()).isEqualTo(ids.length);
            float[] h = backend.floats(sums.getFirst().h());
            parts.forEach(SumTree::close);
            return h;
        }
    }
}
