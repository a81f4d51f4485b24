// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.CacheOp.Pages;
import io.llmc.backend.CacheOp.Run;
import io.llmc.backend.SparseOp.Keys;
import io.llmc.gpu.driver.CudaBuffer;
import io.llmc.gpu.driver.Gpu;
import io.llmc.tensor.Tensor;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;

/// What kernels must know of the keys of sequences, that lie in pages or as rows (`pages.cuh`).
final class KeySource {
    /// Sequences of a launch, and the bytes that each takes of its parameters.
    static final int SEQUENCES = 64;

    private static final int SEQUENCE_BYTES = 56;
    private static final int SOURCE_BYTES = 40;

    /// Tables of a sequence: as many kinds of keys has an operation at most.
    private static final int TABLES = 3;

    private KeySource() {}

    /// One sequence's queries, which are the last of its keys.
    ///
    /// @param tables of the pages of each kind of keys; null where they are rows
    /// @param part of what lies in memory between kernels, the first element
    /// @param row of its first query
    /// @param first row of its keys, where they are rows
    /// @param all keys, those behind its last query too
    record Sequence(
            List<Tensor> tables, long part, int row, int length, int keys, int first, int all) {
        /// Queries `[from, to)` of it.
        Sequence queries(int from, int to) {
            int seen = keys - length + to;
            return new Sequence(tables, part, row + from, to - from, seen, first, all);
        }

        Sequence at(long otherPart) {
            return new Sequence(tables, otherPart, row, length, keys, first, all);
        }

        /// The same queries, whose keys are rows.
        Sequence ofRows(long firstRow) {
            int at = Math.toIntExact(firstRow);
            return new Sequence(List.of(), part, row, length, keys, at, all);
        }

        private void pack(ByteBuffer bytes) {
            for (int i = 0; i < TABLES; i++) {
                Tensor table = i < tables.size() ? tables.get(i) : null;
                bytes.putLong(table == null ? 0 : CudaBuffer.address(table));
            }
            bytes.putLong(part).putInt(row).putInt(length).putInt(keys);
            bytes.putInt(first).putInt(all).putInt(0);
        }
    }

    /// Of an operation whose keys are of several kinds, which all have the same sequences.
    static List<Sequence> sequences(Keys... kinds) {
        List<Sequence> all = new ArrayList<>();
        switch (kinds[0]) {
            case Keys.Whole(Tensor x, int length) -> {
                for (int row = 0; row < x.rows(); row += length) {
                    all.add(new Sequence(List.of(), 0, row, length, length, row, length));
                }
            }
            case Keys.Paged(_, List<Run> runs) -> {
                for (int i = 0; i < runs.size(); i++) {
                    int number = i;
                    var reach = runs.get(i).reach();
                    List<Tensor> tables = new ArrayList<>();
                    for (Keys kind : kinds) {
                        tables.add(((Keys.Paged) kind).runs().get(number).table());
                    }
                    int row = runs.get(i).row();
                    int keys = reach.keys();
                    all.add(new Sequence(tables, 0, row, reach.length(), keys, 0, keys));
                }
            }
        }
        return all;
    }

    static byte[] packed(List<Sequence> sequences) {
        ByteBuffer bytes = bytes(SEQUENCES * SEQUENCE_BYTES);
        sequences.forEach(s -> s.pack(bytes));
        return bytes.array();
    }

    /// @param heads of a token, side by side
    static byte[] packed(Keys keys, int heads) {
        return switch (keys) {
            case Keys.Whole(Tensor x, _) ->
                    rows(CudaBuffer.address(x), Math.toIntExact(x.cols() / heads), heads);
            case Keys.Paged(Pages pages, _) ->
                    bytes(SOURCE_BYTES)
                            .putLong(CudaBuffer.address(pages.data()))
                            .putLong(
                                    pages.scales() == null ? 0 : CudaBuffer.address(pages.scales()))
                            .putInt(Types.ofPages(pages.data().dtype()))
                            .putInt(pages.tokens())
                            .putInt(pages.width())
                            .putInt(heads)
                            .putInt(pages.turned() ? 1 : 0)
                            .array();
        };
    }

    /// Rows of F32.
    static byte[] packed(Gpu.Scratch rows, int width) {
        return rows(rows.address(), width, 1);
    }

    private static byte[] rows(long address, int width, int heads) {
        return bytes(SOURCE_BYTES)
                .putLong(address)
                .putLong(0)
                .putInt(0)
                .putInt(0)
                .putInt(width)
                .putInt(heads)
                .array();
    }

    private static ByteBuffer bytes(int n) {
        return ByteBuffer.allocate(n).order(ByteOrder.nativeOrder());
    }

    /// As many as a launch takes.
    static List<List<Sequence>> launches(List<Sequence> sequences) {
        List<List<Sequence>> launches = new ArrayList<>();
        for (int i = 0; i < sequences.size(); i += SEQUENCES) {
            launches.add(sequences.subList(i, Math.min(sequences.size(), i + SEQUENCES)));
        }
        return launches;
    }
}
