// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.SmallFloatOp;
import io.llmc.formats.UserException;
import io.llmc.pipeline.pass.Observer;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;

/// The largest magnitude of everything it is shown: what static scales of inputs are made of.
record InputRange() implements Observer<Tensor, InputRange.Seen> {
    /// Bytes of a partial.
    static final long BYTES = 256;

    /// @param most F32 `[1, 1]`, of the last chunk
    record Seen(Desk desk, Tensor most, float largest) {}

    @Override
    public long bytes() {
        return BYTES;
    }

    @Override
    public Seen empty(Desk d) {
        return new Seen(d, d.f32(1, 1), 0);
    }

    @Override
    public Seen see(Seen s, Tensor x) {
        if (x.rows() == 0) {
            return s;
        }
        s.desk.run(new SmallFloatOp.TileMaxima(s.most, x, Tiles.TENSOR));
        float here = s.desk.backend().floats(s.most)[0];
        return new Seen(s.desk, s.most, Math.max(s.largest, here));
    }

    @Override
    public Seen merge(Seen a, Seen b) {
        return new Seen(a.desk, a.most, Math.max(a.largest, b.largest));
    }

    /// How inputs of that range are rounded.
    ///
    /// @param d receives the number that the layer keeps
    /// @param layer its name
    /// @param type of the scale that it keeps
    static InputRounding rounding(
            Desk d, String layer, ActivationScheme scheme, float largest, DType type) {
        if (!scheme.calibrated()) {
            return InputRounding.dynamic(scheme);
        }
        if (scheme.codes() instanceof Codes.Ints ints && !ints.symmetric()) {
            throw new IllegalArgumentException("a static zero point is not chosen here");
        }
        if (!(largest > 0) || largest == Float.POSITIVE_INFINITY) {
            throw new UserException(
                    "%s: the largest input that calibration saw is %s, which gives no scale for %s"
                            .formatted(layer, largest, scheme.describe()),
                    "add calibration data, or choose a {scheme} whose inputs get their scales when"
                            + " they come, as fp8-dynamic");
        }
        boolean nested = scheme.grid().scales() == ScaleKind.NESTED;
        float number =
                nested
                        ? scheme.grid().global(largest, DType.F32)
                        : scheme.grid().scale(largest, type, 1);
        Tensor kept = d.allocate(nested ? DType.F32 : type, 1);
        d.run(new ForwardOp.Scale(kept, d.floats(number), 1));
        return new InputRounding(scheme, kept);
    }
}
