// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.language;

import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ArenaPlan;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LayerSpec;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.Parameters;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.CacheScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/// A block's tensors without their bytes: enough to plan with.
public record Outline(Checkpoint checkpoint, ModelSpec spec, LayerSpec layer)
        implements Parameters {
    /// All blocks of a model.
    public static List<DecoderBlock> blocks(Checkpoint c, ModelSpec spec) {
        return spec.layers().stream()
                .map(l -> LanguageModel.block(l, spec.hidden(), new Outline(c, spec, l)))
                .toList();
    }

    @Override
    public Weight weight(String linear) {
        for (LinearSpec l : layer.linears(spec.hidden())) {
            if (l.name().equals(linear)) {
                return new Weight.Dense(ArenaPlan.nothing(new Shape(l.out(), l.in())));
            }
        }
        return new Weight.Dense(tensor(linear + ".weight"));
    }

    @Override
    public Optional<InputRounding> rounding(String linear) {
        return checkpoint.scheme(linear).flatMap(Scheme::inputs).map(Outline::planned);
    }

    /// With places for the numbers that calibration finds.
    private static InputRounding planned(ActivationScheme scheme) {
        if (!scheme.calibrated()) {
            return InputRounding.dynamic(scheme);
        }
        boolean zero = scheme.codes() instanceof Codes.Ints ints && !ints.symmetric();
        Tensor number = ArenaPlan.nothing(new Shape(1));
        return new InputRounding(
                scheme,
                number,
                zero ? new Tensor(number.buffer(), 0, DType.I8, number.shape()) : null);
    }

    @Override
    public Optional<CacheScheme> cache() {
        return checkpoint.kvCache();
    }

    @Override
    public Tensor tensor(String name) {
        TensorInfo info = checkpoint.info(name);
        return ArenaPlan.nothing(info.dtype().isFloat() ? DType.F32 : info.dtype(), info.shape());
    }

    @Override
    public Path place() {
        return checkpoint.directory();
    }
}
