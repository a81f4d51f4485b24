// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.ReferenceOps.get;
import static io.llmc.backend.ReferenceOps.round;
import static io.llmc.backend.ReferenceOps.set;

import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.ValueLayout;

/// What [ReferenceOps] does with small floats, in F32, as it is defined.
final class ReferenceSmallFloats {
    private ReferenceSmallFloats() {}

    static void run(SmallFloatOp op) {
        switch (op) {
            case SmallFloatOp.TileMaxima(var out, var w, var tiles) -> {
                for (long i = 0; i < out.shape().size(); i++) {
                    set(out, i, 0);
                }
                for (long i = 0; i < w.shape().size(); i++) {
                    long t = tile(tiles, w, i);
                    set(out, t, Math.max(get(out, t), Math.abs(get(w, i))));
                }
            }
            case SmallFloatOp.ChooseScales choose -> chooseScales(choose);
            case SmallFloatOp.RoundToFloats(
                            var codes,
                            var squares,
                            var w,
                            var scales,
                            var global,
                            var grid) -> {
                for (long r = 0; r < w.rows(); r++) {
                    double error = 0;
                    double norm = 0;
                    for (long i = r * w.cols(); i < (r + 1) * w.cols(); i++) {
                        float x = (float) get(w, i);
                        float scale = scale(scales, global, tile(grid.tiles(), w, i));
                        float quotient = global == null ? round(x / scale, w.dtype()) : x / scale;
                        float q = nearest(quotient, grid.codes());
                        set(codes, i, code(q, grid.codes()));
                        double d = x - round(q * scale, valueType(scales));
                        error += d * d;
                        norm += (double) x * x;
                    }
                    set(squares, r, 0, error);
                    set(squares, r, 1, norm);
                }
            }
        }
    }

    private static long tile(Tiles tiles, Tensor w, long i) {
        return i / w.cols() / tiles.height(w.rows()) * tiles.across(w.cols())
                + i % w.cols() / tiles.width(w.cols());
    }

    private static void chooseScales(SmallFloatOp.ChooseScales op) {
        float global = op.global() == null ? 1 : (float) get(op.global(), 0);
        for (long t = 0; t < op.maxima().shape().size(); t++) {
            double least = Double.POSITIVE_INFINITY;
            for (int f = 0; f < (op.search() == null ? 1 : op.search().steps()); f++) {
                float factor = op.search() == null ? 1 : op.search().factor(f);
                DType type = op.global() == null ? valueType(op.scales()) : op.type();
                float stored = scale(op.grid(), factor * (float) get(op.maxima(), t), type, global);
                double error = op.search() == null ? 0 : error(op, t, stored / global);
                if (f == 0 || error < least) {
                    least = error;
                    switch (op.grid().scales()) {
                        case FLOAT -> set(op.scales(), t, stored);
                        case POWER -> set(op.scales(), t, Math.getExponent(stored) + 127);
                        case NESTED -> set(op.scales(), t, code(stored, Codes.Floats.E4M3));
                    }
                }
            }
        }
    }

    private static float error(SmallFloatOp.ChooseScales op, long t, float scale) {
        Tensor w = op.w();
        long across = op.maxima().cols();
        long width = op.grid().tiles().width(w.cols());
        float sum = 0;
        for (long i = t % across * width; i < Math.min(w.cols(), (t % across + 1) * width); i++) {
            float x = (float) get(w, t / across, i);
            float c = op.importance() == null ? 1 : (float) get(op.importance(), i);
            float q = nearest(x / scale, op.grid().codes()) * scale;
            float d = x - round(q, valueType(op.scales()));
            sum = Math.fma(d * c, d, sum);
        }
        return sum;
    }

    /// The value that a column of GPTQ's loop gets.
    static float column(CompressionOp.AccumulateObsBlock.Grid grid, long r, int j, float w) {
        Codes.Floats codes = (Codes.Floats) grid.spec().codes();
        long height = grid.spec().tiles().height(grid.codes().rows());
        long tile = r / height * grid.scales().cols() + (long) get(grid.groupOf(), j);
        float scale = scale(grid.scales(), grid.global(), tile);
        float q = nearest(w / scale, codes);
        set(grid.codes(), r, j, code(q, codes));
        return round(q * scale, valueType(grid.scales()));
    }

    private static int code(float x, Codes.Floats type) {
        int code = 0;
        while (small(code, type) != Math.abs(x)) {
            code++;
        }
        boolean negative = Float.floatToRawIntBits(x) < 0;
        return negative ? code | 1 << type.bits() - 1 : code;
    }

    private static DType valueType(Tensor scales) {
        return scales.dtype().isFloat() ? scales.dtype() : DType.BF16;
    }

    /// What a tile's numbers are multiplied by.
    private static float scale(Tensor scales, Tensor global, long tile) {
        if (scales.dtype().isFloat()) {
            return (float) get(scales, tile);
        }
        int octet = scales.bytes().get(ValueLayout.JAVA_BYTE, tile) & 0xff;
        return global == null
                ? (float) Math.scalb(1.0, octet - 127)
                : e4m3(octet) / (float) get(global, 0);
    }

    /// As it is stored.
    ///
    /// @param global what nested scales are divided by
    static float scale(Encoding.Grid<?> grid, float most, DType type, float global) {
        float reach =
                switch (grid.codes()) {
                    case Codes.Floats(var small) -> small == DType.F4 ? 6 : 448;
                    case Codes.Ints(int bits, _) -> (float) ((1 << bits) - 1) / 2;
                };
        return switch (grid.scales()) {
            case FLOAT -> most / reach == 0 ? round(1 / reach, type) : round(most / reach, type);
            case POWER -> {
                int exponent = -127;
                // To the next power from seven quarters of one on.
                while (exponent < 128 && Math.scalb(1.75, exponent) <= most) {
                    exponent++;
                }
                int less = reach == 6 ? 2 : 8;
                boolean finite = most < Float.POSITIVE_INFINITY && exponent < 128;
                yield finite ? (float) Math.scalb(1.0, Math.max(-127, exponent - less)) : Float.NaN;
            }
            case NESTED -> {
                float s = nearest(global * round(most / reach, type), Codes.Floats.E4M3);
                yield s == 0 ? 0.125f : s;
            }
        };
    }

    /// By comparing all of them; the codes of neighbours differ in their last bit.
    static float nearest(float x, Codes.Floats type) {
        int best = 0;
        for (int code = 0; code < (type.bits() == 4 ? 8 : 0x7f); code++) {
            double distance = Math.abs(Math.abs((double) x) - small(code, type));
            double least = Math.abs(Math.abs((double) x) - small(best, type));
            if (distance < least || distance == least && code % 2 == 0) {
                best = code;
            }
        }
        boolean beyond = Float.isInfinite(x);
        float largest = type.bits() == 4 ? 6 : 448;
        return Float.isNaN(x) ? x : Math.copySign(beyond ? largest : small(best, type), x);
    }

    static float value(Weight.Scaled w, long o, long i) {
        Codes.Floats type = w.grid().codes();
        long at = o * w.inFeatures() + i;
        int code = w.codes().bytes().get(ValueLayout.JAVA_BYTE, at * type.bits() / 8) & 0xff;
        if (type.bits() == 4) {
            code = i % 2 == 0 ? code % 16 : code / 16;
        }
        long tile =
                o / w.grid().tiles().height(w.outFeatures()) * w.scales().cols()
                        + i / w.grid().tiles().width(w.inFeatures());
        float scale = scale(w.scales(), w.global(), tile);
        return round(small(code, type) * scale, valueType(w.scales()));
    }

    private static float small(int code, Codes.Floats type) {
        if (type.bits() == 8) {
            return e4m3(code);
        }
        float magnitude = new float[] {0, 0.5f, 1, 1.5f, 2, 3, 4, 6}[code % 8];
        return code < 8 ? magnitude : -magnitude;
    }

    /// Sign, four bits of exponent, three of mantissa; all of them set are NaN.
    private static float e4m3(int code) {
        if ((code & 0x7f) == 0x7f) {
            return Float.NaN;
        }
        int exponent = code >> 3 & 15;
        double mantissa = (code & 7) / 8.0;
        double magnitude =
                exponent == 0 ? Math.scalb(mantissa, -6) : Math.scalb(1 + mantissa, exponent - 7);
        return (float) ((code & 0x80) == 0 ? magnitude : -magnitude);
    }
}
