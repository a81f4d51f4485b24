// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.training;

import io.llmc.backend.Backend;
import io.llmc.backend.OptimizerOp;
import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.spec.Parameter;
import io.llmc.formats.UserException;
import io.llmc.tensor.Tensor;
import java.nio.file.Path;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;

/// AdamW over parameters, their gradients clipped by their common norm.
public final class Optimizer {
    private final Collection<Parameter> parameters;
    private final DistillSpec.Adam adam;
    private final Backend backend;

    public Optimizer(Collection<Parameter> parameters, DistillSpec.Adam adam, Backend backend) {
        this.parameters = parameters;
        this.adam = adam;
        this.backend = backend;
    }

    /// The root of the sum of all squares.
    public double gradientNorm() {
        double sum = 0;
        for (Parameter p : parameters) {
            sum += backend.squares(p.gradient());
        }
        return Math.sqrt(sum);
    }

    /// Where numbers went wrong: the first parameter by name whose values are not finite, else the
    /// first whose gradient is not. Values come first, since one of them spoils all gradients.
    ///
    /// @return a clause for people; empty where all are finite
    Optional<String> unsound() {
        List<Parameter> sorted =
                parameters.stream().sorted(Comparator.comparing(Parameter::name)).toList();
        Optional<String> values = unsound(sorted, Parameter::values, "values");
        return values.isPresent() ? values : unsound(sorted, Parameter::gradient, "gradients");
    }

    private Optional<String> unsound(
            List<Parameter> sorted, Function<Parameter, Tensor> part, String what) {
        return sorted.stream()
                .filter(p -> !Double.isFinite(backend.squares(part.apply(p))))
                .findFirst()
                .map(p -> "%s has %s that are not finite".formatted(p.name(), what));
    }

    /// @throws UserException where the loss or the norm is no finite number
    public void requireFinite(String where, double loss, double norm, Path work) {
        if (Double.isFinite(loss) && Double.isFinite(norm)) {
            return;
        }
        String cause = unsound().map(c -> "; first, " + c).orElse("");
        throw new UserException(
                "%s: the loss is %s and the norm of the gradients %s%s"
                        .formatted(where, loss, norm, cause),
                "lower {lr} and pass {force} to begin anew, or make the student again if its file"
                        + " holds such values; the last good state is kept in "
                        + work);
    }

    /// @throws UserException where a weight is no finite number
    public void requireSound(String where, Path work) {
        unsound()
                .ifPresent(cause -> {
                    throw new UserException(
                            "%s: %s".formatted(where, cause),
                            "lower {lr} and pass {force} to begin anew; the last good state is kept"
                                    + " in "
                                    + work);
                });
    }

    /// @param step from 1
    /// @param norm of the gradients
    public void step(int step, float rate, double norm) {
        float scale = adam.clip() > 0 && norm > adam.clip() ? (float) (adam.clip() / norm) : 1;
        for (Parameter p : parameters) {
            OptimizerOp.AdamSpec spec =
                    new OptimizerOp.AdamSpec(
                            rate * p.unit(),
                            adam.beta1(),
                            adam.beta2(),
                            adam.eps(),
                            p.decays() ? adam.decay() : 0,
                            step,
                            scale);
            backend.run(p.adam().step(p.values(), p.gradient(), spec));
        }
    }
}
