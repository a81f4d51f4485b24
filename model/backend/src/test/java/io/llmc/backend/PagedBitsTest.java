// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.backend.AttentionSpec.Heads;
import io.llmc.backend.AttentionSpec.Reach;
import io.llmc.backend.CacheOp.Pages;
import io.llmc.backend.CacheOp.Run;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PagedBitsTest {
    private static final int TOKENS = 32;

    /// The last queries of a sequence have the bits that they have in a pass over all of it,
    /// however threads share the keys.
    @ParameterizedTest
    @CsvSource({
        "90, 6, 2, 64, 1",
        "90, 6, 2, 64, 2",
        "1700, 6, 2, 64, 1",
        "1700, 6, 2, 64, 2",
        "1700, 9, 3, 24, 2",
        "2100, 3, 1, 80, 3",
        "3000, 8, 1, 128, 4"
    })
    void asInAPassOverAll(int keys, int heads, int kv, int dim, int threads) {
        try (Backend backend =
                        new CpuBackend(new BackendOptions(threads, BackendOptions.Math.PORTABLE));
                TensorArena arena = backend.newArena(1 << 26)) {
            var a = new Operands(backend, arena, 7);
            var shape = new Heads(heads, kv, dim, dim);
            int queries = 2;
            Tensor q = a.normal(queries, shape.queryWidth());
            Tensor k = a.normal(keys, shape.keyWidth());
            Tensor v = a.normal(keys, shape.valueWidth());
            var spec = new AttentionSpec(shape, new Reach(queries, keys, 0, 0), 0.3f, 0);
            Tensor want = a.out(queries, shape.outWidth());
            backend.run(new ForwardOp.Attention(want, q, k, v, null, null, spec));

            int count = Math.ceilDiv(keys, TOKENS);
            Tensor table = a.of(DType.I32, i -> count - 1 - i, count);
            Pages keyPages = pages(a, kv * count, dim, true);
            Pages valuePages = pages(a, kv * count, dim, false);
            List<Run> all = List.of(new Run(0, new Reach(keys, keys, 0, 0), table));
            backend.run(new CacheOp.StorePages(keyPages, k, all));
            backend.run(new CacheOp.StorePages(valuePages, v, all));
            Tensor got = a.out(queries, shape.outWidth());
            backend.run(
                    new CacheOp.PagedAttention(
                            got,
                            q,
                            keyPages,
                            valuePages,
                            List.of(new Run(0, spec.reach(), table)),
                            null,
                            null,
                            spec));
            Agreement.assertSame(keys + " keys", a.download(got), a.download(want));
        }
    }

    private static Pages pages(Operands a, int blocks, int width, boolean turned) {
        Tensor data = a.written(DType.F32, _ -> 0, blocks, (long) width * TOKENS);
        return new Pages(data, null, TOKENS, turned);
    }
}
