// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.ForwardOp;
import io.llmc.tensor.Tensor;
import java.util.List;

/// A learned residual: `x + norm(up(down(x)))`.
record Laurel(LaurelSpec spec, Linear down, Linear up, Norm norm) implements Body {
    @Override
    public List<Part> parts() {
        return List.of(new Down(), new Up());
    }

    private final class Down implements Part {
        @Override
        public List<List<Linear>> groups() {
            return List.of(List.of(down));
        }

        @Override
        public List<Tensor> results(Forward f, long tokens) {
            return List.of(f.allocate(tokens, spec.rank()));
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            Tensor x = in.normed(f);
            f.tap().before(List.of(down), x);
            if (!f.observing()) {
                down.forward(f, out.getFirst(), x);
            }
        }
    }

    private final class Up implements Part {
        @Override
        public List<List<Linear>> groups() {
            return List.of(List.of(up));
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            Tensor narrow = in.kept().getFirst();
            f.tap().before(List.of(up), narrow);
            if (f.observing()) {
                return;
            }
            Tensor x = in.normed(f);
            Tensor y = f.allocate(x.rows(), x.cols());
            up.forward(f, y, narrow);
            Tensor normed = f.allocate(x.rows(), x.cols());
            norm.forward(f, normed, y);
            f.run(new ForwardOp.Add(out.getFirst(), x, normed, 1));
        }
    }
}
