// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.pipeline.pass.PassFactory;
import io.llmc.quantize.convert.ConvertPass;
import io.llmc.quantize.convert.UnpackPass;
import io.llmc.quantize.learn.LearnPass;
import io.llmc.quantize.rotate.RotatePass;
import io.llmc.quantize.scales.AwqPass;
import io.llmc.quantize.scales.SmoothPass;
import java.util.List;

/// Every quantizer, by its name in a recipe.
public final class QuantizePasses {
    public static final List<PassFactory> ALL =
            List.of(
                    RtnPass.FACTORY,
                    GptqPass.FACTORY,
                    AwqPass.FACTORY,
                    SmoothPass.FACTORY,
                    RotatePass.FACTORY,
                    LearnPass.FACTORY,
                    UnpackPass.FACTORY,
                    ConvertPass.FACTORY,
                    OuterPass.FACTORY,
                    KvCachePass.FACTORY);

    private QuantizePasses() {}
}
