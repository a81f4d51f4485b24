// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.ForwardOp.Activation;
import io.llmc.backend.RecurrentOp;
import io.llmc.backend.TensorArena;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.structure.Span;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// The gated delta rule of a block.
///
/// @param projections that may be compressed
/// @param dense those that never are, by name
/// @param convolutions of q, k and v
record DeltaNet(
        DeltaNetSpec spec,
        List<Linear> projections,
        Map<String, Linear> dense,
        List<Convolution> convolutions,
        Tensor rate,
        Tensor bias,
        Norm norm,
        Linear output)
        implements Body {

    static DeltaNet of(DeltaNetSpec spec, BlockBuilder from, int hidden, Linear output) {
        List<Linear> projections = from.linears(spec.projections(hidden));
        Map<String, Linear> dense = new HashMap<>();
        for (LinearSpec l : spec.routers(hidden)) {
            dense.put(l.name(), from.router(l));
        }
        List<Convolution> convolutions = new ArrayList<>();
        spec.convolutions().forEach(c -> convolutions.add(Convolution.of(c, from)));
        if (convolutions.size() == 1) {
            Convolution all = convolutions.removeFirst();
            int at = 0;
            for (int width : spec.widths()) {
                convolutions.add(all.part(at, width));
                at += width;
            }
        }
        return new DeltaNet(
                spec,
                projections,
                dense,
                convolutions,
                from.tensor(spec.rate()).reshape(spec.heads().values()),
                from.tensor(spec.bias()),
                from.norm(spec.norm(), spec.heads().valueDim()),
                output);
    }

    @Override
    public List<Part> parts() {
        return List.of(new Mix(), new OutputPart(output));
    }

    private final class Mix implements Part {
        @Override
        public List<List<Linear>> groups() {
            return List.of(projections);
        }

        @Override
        public List<Tensor> results(Forward f, long tokens) {
            return List.of(f.allocate(tokens, spec.heads().valueWidth()));
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            Tensor normed = in.normed(f);
            f.tap().before(projections, normed);
            if (f.observing()) {
                return;
            }
            Tensor result = out.getFirst();
            Tensor z = f.allocate(result.rows(), result.cols());
            Tensor mixed = f.allocate(result.rows(), result.cols());
            try (TensorArena scratch = f.arena().scratch()) {
                mix(f.in(scratch), mixed, z, normed);
            }
            Tensor plain = f.allocate(result.rows(), result.cols());
            norm.forwardHeads(f, plain, mixed, spec.heads().valueDim());
            f.run(new ForwardOp.Gated(result, z, plain, spec.gate()));
        }
    }

    private void mix(Forward f, Tensor mixed, Tensor z, Tensor normed) {
        DeltaNetSpec.Inputs from = spec.inputs();
        RecurrentOp.Heads heads = spec.heads();
        List<Tensor> qkv = new ArrayList<>();
        spec.widths().forEach(width -> qkv.add(f.allocate(normed.rows(), width)));
        Tensor beta = f.allocate(normed.rows(), heads.values());
        Tensor decay = f.allocate(normed.rows(), spec.decays());
        try (TensorArena scratch = f.arena().scratch()) {
            Products products = new Products(f.in(scratch), normed);
            products.take(qkv.get(0), from.q());
            products.take(qkv.get(1), from.k());
            products.take(qkv.get(2), from.v());
            products.take(z, from.z());
            products.take(beta, from.beta());
            products.take(decay, from.decay());
        }
        List<Tensor> active = new ArrayList<>();
        for (int i = 0; i < qkv.size(); i++) {
            Tensor x = convolutions.get(i).forward(f, qkv.get(i));
            Tensor y = f.allocate(x.rows(), x.cols());
            f.run(new ForwardOp.Activate(y, x, Activation.SILU));
            active.add(y);
        }
        var op =
                new RecurrentOp.DeltaRule(
                        mixed,
                        active.get(0),
                        active.get(1),
                        active.get(2),
                        new RecurrentOp.Decay(decay, rate, bias, spec.decay().bound()),
                        beta,
                        heads,
                        List.of());
        f.recur(spec.state(), op, normed.rows());
    }

    /// What the layers give, each computed once.
    private final class Products {
        private final Forward f;
        private final Tensor normed;
        private final Map<String, Tensor> all = new HashMap<>();

        Products(Forward f, Tensor normed) {
            this.f = f;
            this.normed = normed;
        }

        void take(Tensor out, Span rows) {
            Attention.take(f, out, of(linear(rows.linear()), normed), rows);
        }

        void take(Tensor out, DeltaNetSpec.Through through) {
            if (through.narrow() == null) {
                take(out, through.rows());
                return;
            }
            Tensor narrow = of(linear(through.narrow()), normed);
            Tensor wide = of(linear(through.rows().linear()), narrow);
            Attention.take(f, out, wide, through.rows());
        }

        private Tensor of(Linear linear, Tensor x) {
            return all.computeIfAbsent(
                    linear.name(),
                    _ -> {
                        Tensor y = f.allocate(x.rows(), linear.weight().outFeatures());
                        linear.forward(f, y, x);
                        return y;
                    });
        }

        private Linear linear(String name) {
            return projections.stream()
                    .filter(l -> l.name().equals(name))
                    .findFirst()
                    .orElseGet(() -> dense.get(name));
        }
    }
}
