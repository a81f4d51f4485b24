// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import io.llmc.formats.BitStream;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.FormatException;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Groups;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.List;
import java.util.SequencedMap;

/// compressed-tensors' `marlin-24`, up to 0.14: symmetric integers of 4 bits of which two in four
/// are kept, in the order in which a kernel for sparse tensor cores loads them (Frantar et al.,
/// 2024, "MARLIN", arXiv 2408.11743). It is read only.
///
/// | tensor | |
/// |---|---|
/// | `weight_packed` | I32 `[in/32, 2*out]`: the kept codes |
/// | `meta` | I16 `[in/32, 2*out]`: where in each four they stand, two bits for each |
/// | `scale_packed` | F16 `[groups, out]` |
///
/// What is not kept has the middle code, which stands for 0.
record Marlin24(Encoding.Grid<Codes.Ints> grid) implements Spelling {
    private static final ValueLayout.OfShort SHORT =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final String SCALE = ".scale_packed";
    static final String META = ".meta";

    /// Kept codes of a tile: 16 along the input by 64 outputs.
    private static final int TILE = 1024;

    private static final int[] ORDER = order();

    static boolean holds(Encoding.Grid<Codes.Ints> grid) {
        return grid.codes().equals(new Codes.Ints(4, true))
                && (grid.tiles().equals(Tiles.ROW) || grid.tiles().equals(Tiles.groups(128)));
    }

    /// For each code of a tile as it is stored, its place in the tile: `256 * block + 16 * row +
    /// column`, of four blocks of 16 outputs. A thread of 32 has 32 codes in a row, four words; its
    /// first codes of each pair come before the second ones.
    private static int[] order() {
        int[] interleaved = {0, 2, 4, 6, 1, 3, 5, 7};
        int[] order = new int[TILE];
        for (int i = 0; i < TILE; i++) {
            int thread = i / 32;
            int k = i / 8 * 8 % 32 + interleaved[i % 8];
            int part = k % 8;
            int pair = thread % 4 + part % 4 / 2 * 4;
            int row = 2 * pair + part % 2;
            int column = 8 * (thread / 4 % 2) + 4 * (part / 4) + k / 8;
            order[i] = 256 * (thread / 8) + 16 * row + column;
        }
        return order;
    }

    @Override
    public Shape require(TensorReader reader, String linear) {
        Checkpoint c = reader.checkpoint();
        Shape packed = Stored.matrix(c, linear + Stored.PACKED, DType.I32);
        long in = packed.dim(0) * 32;
        long out = packed.dim(1) / 2;
        if (out % 64 != 0) {
            throw new FormatException(
                    c.file(linear + Stored.PACKED),
                    "%s is not in tiles of 16 by 64".formatted(c.info(linear + Stored.PACKED)));
        }
        reader.tensor(linear + META, DType.I16, packed.dim(0), packed.dim(1));
        Groups.requireFinite(
                c.file(linear + SCALE),
                linear + SCALE,
                reader.tensor(linear + SCALE, DType.F16, grid.tiles().across(in), out));
        return new Shape(out, in);
    }

    @Override
    public Weight decode(TensorReader reader, String linear) {
        Shape shape = require(reader, linear);
        long out = shape.dim(0);
        Tensor scales = scales(reader.tensor(linear + SCALE), shape, reader.arena());
        return new Weight.Grouped(
                grid,
                shape.dim(1),
                codes(reader, linear, shape),
                scales,
                Groups.middleZeros(grid, out, scales.cols(), reader.arena()),
                null);
    }

    private Tensor codes(TensorReader reader, String linear, Shape shape) {
        long out = shape.dim(0);
        int in = Math.toIntExact(shape.dim(1));
        byte[] kept = kept(reader.tensor(linear + Stored.PACKED).bytes(), out, in / 2);
        MemorySegment meta = reader.tensor(linear + META).bytes();
        Tensor codes = Dequantizer.allocate(reader.arena(), DType.I32, out, grid.codes().words(in));
        int[] row = new int[in];
        for (long o = 0; o < out; o++) {
            Arrays.fill(row, grid.codes().middleCode());
            for (int four = 0; four < in / 4; four++) {
                int places = meta.getAtIndex(SHORT, metaAt(o, four / 4, out)) >>> four % 4 * 4;
                int first = Math.toIntExact(o * (in / 2) + 2 * four);
                row[4 * four + (places & 3)] = kept[first];
                row[4 * four + (places >>> 2 & 3)] = kept[first + 1];
            }
            BitStream.pack(codes.bytes(), o * codes.cols(), row, grid.codes().bits());
        }
        return codes;
    }

    /// The kept codes, `[out, half]`.
    private static byte[] kept(MemorySegment packed, long out, long half) {
        byte[] kept = new byte[Math.toIntExact(out * half)];
        for (long tile = 0; tile < out * half / TILE; tile++) {
            long down = tile / (out / 64);
            long across = tile % (out / 64);
            for (int i = 0; i < TILE; i++) {
                int word = packed.getAtIndex(BitStream.WORD, (tile * TILE + i) / 8);
                int place = ORDER[i];
                long o = across * 64 + place / 256 * 16 + place % 16;
                long k = down * 16 + place / 16 % 16;
                kept[Math.toIntExact(o * half + k)] = (byte) (word >>> i % 8 * 4 & 15);
            }
        }
        return kept;
    }

    /// Where the places of 16 columns of an output are: rows in the order of the tensor cores'
    /// operands, blocks of two by two turned, columns interleaved by two.
    private static long metaAt(long out, long col, long rows) {
        long row = out / 64 * 64 + out % 2 * 2 + out % 8 / 4 + out % 4 / 2 * 32 + out % 64 / 8 * 4;
        long turn = row % 2 == 0 && col % 2 == 1 ? 1 : row % 2 == 1 && col % 2 == 0 ? -1 : 0;
        row += turn;
        col -= turn;
        return col / 2 * rows * 2 + row * 2 + col % 2;
    }

    /// Groups of rows of 64 outputs are stored in the order of the kernel's columns; scales of
    /// whole rows are not.
    private Tensor scales(Tensor stored, Shape shape, SegmentAllocator memory) {
        long out = shape.dim(0);
        long groups = stored.rows();
        boolean ordered =
                grid.tiles().cols() != Tiles.ALL && 2L * grid.tiles().cols() < shape.dim(1);
        Tensor scales = Dequantizer.allocate(memory, DType.F16, out, groups);
        for (long g = 0; g < groups; g++) {
            for (long i = 0; i < out; i++) {
                long o = ordered ? i / 8 * 8 + i % 8 / 2 + i % 2 * 4 : i;
                float scale = Floats.get(stored.bytes(), DType.F16, g * out + i);
                Floats.set(scales.bytes(), DType.F16, o * groups + g, scale);
            }
        }
        return scales;
    }

    @Override
    public List<TensorInfo> plan(LayerPlan layer) {
        throw new IllegalStateException("marlin-24 is not written");
    }

    @Override
    public SequencedMap<String, Tensor> encode(
            String linear, Weight weight, DType dtype, SegmentAllocator memory) {
        throw new IllegalStateException("marlin-24 is not written");
    }
}
