// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.Op;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/// The least time of every operation on the devices that llmc is built for, from what it must
/// compute and what must cross memory; docs/gpu.md holds the table.
class RooflineTest {
    @Test
    void everyOperationIsInTheTable() {
        assertThat(Workload.FULL.all().stream().<Class<?>>map(Workload.Entry::op))
                .containsAll(Op.all().filter(op -> !Op.ON_CPU_ALONE.contains(op)).toList());
        for (Workload.Entry e : Workload.FULL.all()) {
            assertThat(e.build().apply(Workload.SHAPES)).isInstanceOf(e.op());
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
        Card.ALL.forEach(c -> text.append(' ').append(c.name()).append(", µs |"));
        text.append("\n|---|---|---|---|").append("---|".repeat(Card.ALL.size())).append('\n');
        for (Workload.Entry e : Workload.FULL.all()) {
            double bytes = e.bytes(e.build().apply(Workload.SHAPES));
            text.append(
                    String.format(
                            Locale.ROOT,
                            "| %s | %.1f | %.1f | %s |%s%n",
                            e.name(),
                            bytes / 1e6,
                            e.operations() / 1e9,
                            e.unit().name().toLowerCase(Locale.ROOT),
                            Card.ALL.stream()
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
