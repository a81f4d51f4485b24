// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.I32;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.CacheOp;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/// Pages of a cache, from rows and back to floats.
final class PageKernels {
    private static final Codes.Ints INTS = new Codes.Ints(8, true);

    private final Workers workers;

    PageKernels(Workers workers) {
        this.workers = workers;
    }

    /// What a worker takes holds whole heads of runs.
    void store(CacheOp.StorePages op) {
        int width = op.pages().width();
        int heads = Math.toIntExact(op.x().cols() / width);
        var to = new View(op.pages());
        MemorySegment x = op.x().bytes();
        int longest = op.runs().stream().mapToInt(run -> run.reach().length()).max().orElse(0);
        workers.forEachRow(
                (long) op.runs().size() * heads,
                (long) longest * width,
                (i, scratch) -> {
                    CacheOp.Run run = op.runs().get((int) (i / heads));
                    int head = (int) (i % heads);
                    int first = run.reach().keys() - run.reach().length();
                    float[] row = scratch.floats(0, Lanes.padded(width));
                    for (int t = 0; t < run.reach().length(); t++) {
                        long from = (run.row() + t) * (long) heads * width + (long) head * width;
                        Lanes.read(row, 0, x, DType.F32, from, width);
                        int page = page(run, first + t, to.tokens);
                        to.put(row, (long) page * heads + head, (first + t) % to.tokens);
                    }
                });
    }

    /// Where a token lies; below 0 for nowhere.
    static int page(CacheOp.Run run, int token, int tokens) {
        return run.table().bytes().get(I32, 4L * (token / tokens));
    }

    /// Pages with their bytes at hand.
    static final class View {
        private final MemorySegment data;
        private final MemorySegment scales;
        private final DType type;
        private final boolean turned;
        final int tokens;
        final int width;

        View(CacheOp.Pages pages) {
            data = pages.data().bytes();
            scales = pages.scales() == null ? null : pages.scales().bytes();
            type = pages.data().dtype();
            turned = pages.turned();
            tokens = pages.tokens();
            width = pages.width();
        }

        /// Floats of a page's head.
        int size() {
            return tokens * width;
        }

        /// A token of a page's head, from `row[0, width)`.
        private void put(float[] row, long block, int token) {
            float scale = 1;
            if (scales != null) {
                float most = RoundingKernels.largest(row, 0, width);
                scale = CacheOp.Pages.scale(most, type);
                scales.set(F32, 4 * (block * tokens + token), scale);
            }
            long base = block * size();
            if (type.isFloat() && !turned) {
                Lanes.write(data, type, base + (long) token * width, row, 0, width);
                return;
            }
            if (type == DType.F32) {
                for (int d = 0; d < width; d++) {
                    data.set(F32, 4 * (base + (long) d * tokens + token), row[d]);
                }
                return;
            }
            for (int d = 0; d < width; d++) {
                long at = base + (turned ? (long) d * tokens + token : (long) token * width + d);
                switch (type) {
                    case I8 ->
                            data.set(
                                    ValueLayout.JAVA_BYTE, at, (byte) INTS.nearest(row[d] / scale));
                    case F8_E4M3 ->
                            data.set(
                                    ValueLayout.JAVA_BYTE,
                                    at,
                                    (byte) Codes.Floats.E4M3.code(row[d] / scale));
                    default -> Lanes.write(data, type, at, row, d, 1);
                }
            }
        }

        /// Where a page's head lies as F32, or a copy, with a panel's width of anything behind it.
        ///
        /// @param whole whether nobody reads behind it
        long address(long block, boolean whole, Scratch scratch) {
            if (type == DType.F32 && whole && !data.isMapped()) {
                return data.address() + 4 * block * size();
            }
            float[] page = scratch.floats(0, size() + N);
            read(page, 0, block, scratch);
            MemorySegment copy = scratch.bytes(0, 4L * (size() + PortableGemm.NR));
            MemorySegment.copy(page, 0, copy, F32, 0, size());
            return copy.address();
        }

        /// All of a page's head, `[width][tokens]` where turned and `[tokens][width]` otherwise.
        void read(float[] to, int at, long block, Scratch scratch) {
            int n = size();
            long base = block * n;
            if (type.isFloat()) {
                Lanes.read(to, at, data, type, base, n);
                return;
            }
            byte[] octets = scratch.octets(n + N);
            MemorySegment.copy(data, ValueLayout.JAVA_BYTE, base, octets, 0, n);
            values(to, at, octets, n);
            scale(to, at, block);
        }

        /// A token of a page's head, to `row[0, width)`.
        void token(float[] row, long block, int token) {
            long base = block * size();
            if (type.isFloat() && !turned) {
                Lanes.read(row, 0, data, type, base + (long) token * width, width);
                return;
            }
            float scale = scales == null ? 1 : scales.get(F32, 4 * (block * tokens + token));
            for (int d = 0; d < width; d++) {
                long at = base + (turned ? (long) d * tokens + token : (long) token * width + d);
                if (type.isFloat()) {
                    Lanes.read(row, d, data, type, at, 1);
                } else {
                    byte code = data.get(ValueLayout.JAVA_BYTE, at);
                    row[d] =
                            scale
                                    * (type == DType.I8
                                            ? code
                                            : Codes.Floats.E4M3.value(code & 0xff));
                }
            }
        }

        private void values(float[] to, int at, byte[] octets, int n) {
            SmallFloats floats = type == DType.I8 ? null : SmallFloats.of(Codes.Floats.E4M3);
            int i = 0;
            for (; Lanes.OCTETS != null && i <= n - N; i += N) {
                FloatVector v =
                        floats != null
                                ? floats.values(octets, i)
                                : (FloatVector)
                                        ByteVector.fromArray(Lanes.OCTETS, octets, i)
                                                .convertShape(VectorOperators.B2F, F, 0);
                v.intoArray(to, at + i);
            }
            for (; i < n; i++) {
                to[at + i] = floats == null ? octets[i] : Codes.Floats.E4M3.value(octets[i] & 0xff);
            }
        }

        private void scale(float[] to, int at, long block) {
            for (int t = 0; t < tokens; t++) {
                float scale = scales.get(F32, 4 * (block * tokens + t));
                if (turned) {
                    for (int d = 0; d < width; d++) {
                        to[at + d * tokens + t] *= scale;
                    }
                } else {
                    for (int d = 0; d < width; d++) {
                        to[at + t * width + d] *= scale;
                    }
                }
            }
        }
    }

    void gather(CacheOp.GatherPages op) {
        gather(op.out().bytes(), op.pages(), op.run(), 0, op.heads());
    }

    /// A run's keys or values from token `start` on as rows, `[keys - start, heads * width]`; those
    /// that lie nowhere are zeros.
    void gather(MemorySegment to, CacheOp.Pages pages, CacheOp.Run run, int start, int heads) {
        var from = new View(pages);
        int keys = run.reach().keys();
        int first = start / from.tokens;
        int count = Math.ceilDiv(keys, from.tokens) - first;
        workers.forEach(
                count * heads,
                (tile, scratch) -> {
                    int index = first + tile / heads;
                    int head = tile % heads;
                    int page = run.table().bytes().get(I32, 4L * index);
                    float[] block = scratch.floats(0, from.size() + N);
                    if (page >= 0) {
                        from.read(block, 0, (long) page * heads + head, scratch);
                    }
                    float[] row = scratch.floats(1, from.width);
                    int end = Math.min(keys, (index + 1) * from.tokens);
                    for (int s = Math.max(start, index * from.tokens); s < end; s++) {
                        int t = s - index * from.tokens;
                        for (int d = 0; d < from.width; d++) {
                            int at = pages.turned() ? d * from.tokens + t : t * from.width + d;
                            row[d] = page < 0 ? 0 : block[at];
                        }
                        long element = ((long) (s - start) * heads + head) * from.width;
                        Lanes.write(to, DType.F32, element, row, 0, from.width);
                    }
                });
    }

    /// A matrix of F32 in a worker's memory.
    static Tensor matrix(MemorySegment bytes, long rows, long cols) {
        return Tensor.of(bytes.asSlice(0, 4 * rows * cols), DType.F32, rows, cols);
    }
}
