// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.Op;
import io.llmc.tensor.Buffer;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/// The least time of every operation on the devices that llmc is built for, from what it must
/// compute and what must cross memory; docs/gpu.md holds the table.
class RooflineTest {
    /// Dense rates from NVIDIA's data sheets.
    ///
    /// @param bandwidth GB/s
    /// @param tensor bf16 with sums in F32, TFLOP/s, as are the others
    record Card(String name, double bandwidth, double tensor, double f32, double f64) {
        double microseconds(Workload.Entry e, double bytes) {
            double rate =
                    switch (e.unit()) {
                        case TENSOR -> tensor;
                        case F32 -> f32;
                        case F64 -> f64;
                    };
            return Math.max(bytes / bandwidth / 1e3, e.operations() / rate / 1e6);
        }

        boolean waitsForMemory(Workload.Entry e, double bytes) {
            return microseconds(e, bytes) <= bytes / bandwidth / 1e3;
        }
    }

    static final List<Card> CARDS =
            List.of(
                    new Card("H100 SXM", 3350, 989, 67, 34),
                    new Card("H200", 4800, 989, 67, 34),
                    new Card("A100 80 GB", 2039, 312, 19.5, 9.7),
                    new Card("RTX 4090", 1008, 165, 82.6, 1.29));

    /// Shapes without memory.
    private static final Workload.Operands SHAPES =
            new Workload.Operands() {
                @Override
                public Tensor of(DType type, long... dims) {
                    return new Tensor(new Nowhere(), 0, type, new Shape(dims));
                }

                @Override
                public Tensor indices(int bound, long n) {
                    return of(DType.I32, n);
                }
            };

    private record Nowhere() implements Buffer {
        @Override
        public String device() {
            return "nowhere";
        }

        @Override
        public long byteSize() {
            return Long.MAX_VALUE;
        }

        @Override
        public boolean isAlive() {
            return true;
        }
    }

    @Test
    void everyOperationIsInTheTable() {
        assertThat(Op.class.getPermittedSubclasses())
                .filteredOn(c -> Op.class.isAssignableFrom(c))
                .isSubsetOf(Workload.ALL.stream().map(Workload.Entry::op).toList());
        for (Workload.Entry e : Workload.ALL) {
            assertThat(e.build().apply(SHAPES)).isInstanceOf(e.op());
        }
    }

    @Test
    void theTableIsInTheDocument() throws IOException {
        Path document = StandIn.module().resolveSibling("docs/gpu.md");
        String table = table();
        System.out.println(table);
        assertThat(Files.readString(document))
                .describedAs("docs/gpu.md lacks this table:\n%s", table)
                .contains(table);
    }

    private static String table() {
        StringBuilder text = new StringBuilder("| operation | MB | GFLOP | unit |");
        CARDS.forEach(c -> text.append(' ').append(c.name).append(", µs |"));
        text.append("\n|---|---|---|---|").append("---|".repeat(CARDS.size())).append('\n');
        for (Workload.Entry e : Workload.ALL) {
            double bytes = e.bytes(e.build().apply(SHAPES));
            text.append(
                    String.format(
                            Locale.ROOT,
                            "| %s | %.1f | %.1f | %s |%s%n",
                            e.name(),
                            bytes / 1e6,
                            e.operations() / 1e9,
                            e.unit().name().toLowerCase(Locale.ROOT),
                            CARDS.stream()
                                    .map(c -> cell(c, e, bytes))
                                    .collect(Collectors.joining())));
        }
        return text.toString();
    }

    private static String cell(Card c, Workload.Entry e, double bytes) {
        return String.format(
                Locale.ROOT,
                " %.1f %s |",
                c.microseconds(e, bytes),
                c.waitsForMemory(e, bytes) ? "m" : "c");
    }
}
