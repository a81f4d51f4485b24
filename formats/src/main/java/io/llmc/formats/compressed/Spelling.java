// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import io.llmc.formats.FormatException;
import io.llmc.formats.LayerPlan;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.SegmentAllocator;
import java.util.List;
import java.util.SequencedMap;

/// The tensors of weights on one grid: those of their formats that differ in names alone share one.
sealed interface Spelling
        permits PackQuantized, IntQuantized, FloatQuantized, Fp4Quantized, Marlin24 {
    /// @throws FormatException where the tensors do not fit together
    Weight decode(TensorReader reader, String linear);

    /// Looks for everything that [#decode] would refuse, but for codes.
    ///
    /// @return out, in
    /// @throws FormatException where the tensors do not fit together
    Shape require(TensorReader reader, String linear);

    /// What [#encode] will produce.
    List<TensorInfo> plan(LayerPlan layer);

    /// @param dtype of scales that are plain floats
    SequencedMap<String, Tensor> encode(
            String linear, Weight weight, DType dtype, SegmentAllocator memory);
}
