// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.shared;

import io.llmc.backend.Desk;
import io.llmc.backend.StatisticOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;

/// Sums over tokens of a power of each column's size.
///
/// @param sums F64 `[columns]`
public record ColumnNorms(Desk desk, Tensor sums) {
    /// @param d zeroed memory
    public static ColumnNorms empty(Desk d, long columns) {
        return new ColumnNorms(d, d.allocate(DType.F64, columns));
    }

    /// @param power 1 or 2
    public void add(Tensor x, int power) {
        desk.run(new StatisticOp.AccumulateColumnNorms(sums, x, power));
    }

    /// On the host: they are short.
    public void add(ColumnNorms other) {
        double[] all = values();
        double[] more = other.values();
        for (int i = 0; i < all.length; i++) {
            all[i] += more[i];
        }
        try (Arena host = desk.backend().host().newArena()) {
            desk.backend().upload(sums, host.allocateFrom(ValueLayout.JAVA_DOUBLE, all));
        }
    }

    public double[] values() {
        return desk.backend().doubles(sums);
    }
}
