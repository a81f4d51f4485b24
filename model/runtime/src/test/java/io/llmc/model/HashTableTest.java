// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.FormatException;
import io.llmc.model.ExpertsSpec.Router.Table;
import io.llmc.model.structure.RowSpec;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class HashTableTest {
    private static final Table SPEC = new Table("tid2eid", 4, 2, 3);

    /// Numbers of tokens stand in the fourth column.
    @Test
    void expertsAreThoseOfTheToken() {
        assertThat(chosen(new long[] {0, 1, 2, 3, 4, 5, 6, 0}, 2, 0, 3))
                .containsExactly(4, 5, 0, 1, 6, 0);
    }

    @Test
    void anExpertThatThereIsNotIsNamed() {
        assertThatThrownBy(() -> chosen(new long[] {0, 1, 2, 3, 4, 7, 6, 0}, 0, 2))
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("tid2eid sends token 2 to expert 7, but there are 7");
        assertThat(chosen(new long[] {0, 1, 2, 3, 4, 7, 6, 0}, 0, 3)).containsExactly(0, 1, 6, 0);
    }

    private static int[] chosen(long[] experts, int... tokens) {
        try (Backend backend = new CpuBackend(new BackendOptions(1, BackendOptions.Math.PORTABLE));
                TensorArena arena = backend.newArena(1 << 16);
                Arena host = Arena.ofConfined()) {
            Tensor table = arena.allocate(DType.I64, new Shape(4, 2));
            backend.upload(table, host.allocateFrom(ValueLayout.JAVA_LONG, experts));
            float[] row = new float[4 * tokens.length];
            for (int i = 0; i < tokens.length; i++) {
                row[4 * i + 3] = tokens[i] * RowSpec.SMALL;
            }
            Tensor rows = arena.allocate(DType.F32, new Shape(tokens.length, 4));
            backend.upload(rows, host.allocateFrom(ValueLayout.JAVA_FLOAT, row));
            Tensor chosen = arena.allocate(DType.I32, new Shape(tokens.length, 2));
            new HashTable(SPEC, 7, table, Path.of("model"))
                    .choose(new Forward(backend, arena, null), chosen, rows);
            var copy = host.allocate(chosen.byteSize(), 8);
            backend.download(copy, chosen);
            return copy.toArray(ValueLayout.JAVA_INT);
        }
    }
}
