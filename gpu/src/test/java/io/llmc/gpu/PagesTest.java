// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.AttentionSpec.Heads;
import io.llmc.backend.AttentionSpec.Reach;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.CacheOp;
import io.llmc.backend.CacheOp.Pages;
import io.llmc.backend.CacheOp.Run;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/// What attention over pages promises beyond its contract: bits that hang on nothing beside a
/// query, and launches that sequences share.
@Tag("long")
class PagesTest {
    private static final Heads HEADS = new Heads(4, 2, 24, 40);
    private static final int WINDOW = 150;

    @BeforeAll
    static void standIn() {
        var problem = StandIn.install();
        assumeTrue(problem.isEmpty(), problem.orElse(""));
    }

    /// A sequence, whose content its keys' number says.
    ///
    /// @param length queries
    private record Some(int length, int keys) {}

    @Test
    void aQueryDoesNotDependOnWhatIsBesideIt() {
        // More than one launch has room for; blocks of keys that are whole, begun and hidden.
        List<Some> step =
                IntStream.range(0, 66).mapToObj(i -> new Some(1, 8 + i * 37 % 300)).toList();
        float[][] want = lastQueries(32, step);
        for (int i : new int[] {0, 7, 20, 65}) {
            Some one = step.get(i);
            for (int length : new int[] {1, 3, 8}) {
                for (int page : new int[] {4, 32, 96}) {
                    assertThat(lastQueries(page, List.of(new Some(length, one.keys))))
                            .as("%s with %d queries, pages of %d", one, length, page)
                            .isDeepEqualTo(new float[][] {want[i]});
                }
            }
        }
    }

    @Test
    void sequencesShareLaunches() {
        long before = launches();
        lastQueries(32, IntStream.range(0, 64).mapToObj(_ -> new Some(1, 100)).toList());
        // Keys, values, blocks of keys, and these together.
        assertThat(launches() - before).isEqualTo(4);
    }

    private static long launches() {
        return StandIn.count("launches");
    }

    /// What the last query of each sequence gets.
    private static float[][] lastQueries(int page, List<Some> sequences) {
        int queries = sequences.stream().mapToInt(Some::length).sum();
        int keys = sequences.stream().mapToInt(Some::keys).sum();
        int pages = sequences.stream().mapToInt(s -> Math.ceilDiv(s.keys, page)).sum();
        try (CudaBackend backend =
                        new CudaBackend(0, new BackendOptions(1, BackendOptions.Math.PORTABLE));
                TensorArena arena = backend.newArena(64 << 20)) {
            var make = new Make(backend, arena);
            Pages k = make.pages(pages, page, HEADS.dim(), true);
            Pages v = make.pages(pages, page, HEADS.valueDim(), false);
            List<Run> whole = new ArrayList<>();
            List<Run> last = new ArrayList<>();
            int free = pages;
            int row = 0;
            int key = 0;
            for (Some s : sequences) {
                int[] table = new int[Math.ceilDiv(s.keys, page)];
                for (int i = 0; i < table.length; i++) {
                    table[i] = --free;
                }
                Tensor t = make.ints(table);
                whole.add(new Run(key, new Reach(s.keys, s.keys, 0, 0), t));
                last.add(new Run(row, new Reach(s.length, s.keys, WINDOW, 0), t));
                row += s.length;
                key += s.keys;
            }
            backend.run(
                    new CacheOp.StorePages(k, make.rows(1, HEADS.keyWidth(), keys, whole), whole));
            backend.run(
                    new CacheOp.StorePages(
                            v, make.rows(2, HEADS.valueWidth(), keys, whole), whole));
            Tensor out = arena.allocate(DType.F32, new Shape(queries, HEADS.outWidth()));
            Tensor q = make.rows(3, HEADS.queryWidth(), queries, last);
            var spec = new AttentionSpec(HEADS, last.getFirst().reach(), 0.3f, 0);
            backend.run(new CacheOp.PagedAttention(out, q, k, v, last, null, null, spec));
            float[] all = make.floats(out);
            return last.stream()
                    .mapToInt(r -> r.row() + r.reach().length() - 1)
                    .mapToObj(r ->
                            Arrays.copyOfRange(
                                    all, r * HEADS.outWidth(), (r + 1) * HEADS.outWidth()))
                    .toArray(float[][]::new);
        }
    }

    /// Operands of which a sequence's row at a position is the same wherever it stands.
    private record Make(CudaBackend backend, TensorArena arena) {
        Pages pages(int count, int tokens, int width, boolean turned) {
            Shape shape = new Shape((long) count * HEADS.kv(), (long) width * tokens);
            return new Pages(arena.allocate(DType.BF16, shape), null, tokens, turned);
        }

        Tensor ints(int[] values) {
            Tensor t = arena.allocate(DType.I32, new Shape(values.length));
            backend.upload(t, StandIn.bytes(t.byteSize()).copyFrom(MemorySegment.ofArray(values)));
            return t;
        }

        /// @param kind of rows
        Tensor rows(int kind, int width, int rows, List<Run> runs) {
            float[] x = new float[rows * width];
            for (Run run : runs) {
                for (int i = 0; i < run.reach().length(); i++) {
                    long seed = 1_000_000L * kind + 1000L * run.reach().keys();
                    var random = new Random(seed + run.reach().position(i));
                    for (int c = 0; c < width; c++) {
                        x[(run.row() + i) * width + c] = (float) random.nextGaussian();
                    }
                }
            }
            Tensor t = arena.allocate(DType.F32, new Shape(rows, width));
            backend.upload(t, StandIn.bytes(t.byteSize()).copyFrom(MemorySegment.ofArray(x)));
            return t;
        }

        float[] floats(Tensor t) {
            MemorySegment host = StandIn.bytes(t.byteSize());
            backend.download(host, t);
            return host.toArray(ValueLayout.JAVA_FLOAT);
        }
    }
}
