// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.model.BodySpec.InnerTensor;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.Size;
import io.llmc.tensor.Shape;
import java.util.List;
import java.util.function.UnaryOperator;

/// Several residual streams of which a block computes one, and guesses what that makes of the
/// others (Gemma 3n; AltUp: Baykal et al., 2023, arXiv 2301.13310). In a row they stand behind the
/// stream that branches read: the first one's guess, corrected when all but the last branch have
/// run. The last branch's result is added to the others.
///
/// @param prefix of its tensors' names
/// @param streams how many
/// @param hidden channels of each
/// @param norm before the router
/// @param scaled whether what the last branch reads is multiplied by a tensor
public record AltUpSpec(String prefix, int streams, int hidden, NormSpec norm, boolean scaled)
        implements ManyStreamsSpec {
    public AltUpSpec {
        if (streams < 2) {
            throw new IllegalArgumentException("streams are several, not " + streams);
        }
    }

    private InnerTensor tensor(String name, long... dims) {
        return new InnerTensor(prefix + name, new Shape(dims), List.of(Size.HIDDEN));
    }

    /// Router, norm, guesses, corrections, and what the last branch's input is multiplied by.
    @Override
    public List<InnerTensor> tensors() {
        long n = streams;
        List<InnerTensor> all =
                List.of(
                        tensor("modality_router.weight", n, hidden),
                        new InnerTensor(
                                norm.name() + ".weight", new Shape(hidden), List.of(Size.HIDDEN)),
                        tensor("prediction_coefs.weight", n * n, n),
                        tensor("correction_coefs.weight", n, n),
                        tensor("correct_output_scale", hidden));
        return scaled ? all : all.subList(0, 4);
    }

    @Override
    public String role() {
        return "streams";
    }

    @Override
    public AltUpSpec renamed(UnaryOperator<String> names) {
        return new AltUpSpec(
                names.apply(prefix), streams, hidden, NormSpec.renamed(norm, names), scaled);
    }

    @Override
    public AltUp build(BlockBuilder from) {
        return new AltUp(this, from.tensors(tensors()));
    }
}
