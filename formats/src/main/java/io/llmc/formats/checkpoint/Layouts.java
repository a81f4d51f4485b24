// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.checkpoint;

import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import java.util.List;
import java.util.Optional;
import java.util.ServiceLoader;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/// Every layout, in the order in which a checkpoint's tensors are tried against them.
public final class Layouts {
    static final List<LayoutFamily> FAMILIES =
            ServiceLoader.load(LayoutFamily.class, Layouts.class.getClassLoader()).stream()
                    .map(ServiceLoader.Provider::get)
                    .toList();

    /// Plain values come last: what is packed may lie under the names of plain weights, too.
    public static final List<WeightLayout> ALL =
            Stream.concat(
                            FAMILIES.stream().flatMap(family -> family.layouts().stream()),
                            Stream.of(new DenseLayout()))
                    .toList();

    /// Those that weights can be written in.
    public static final List<WeightLayout> WRITTEN =
            ALL.stream().filter(WeightLayout::writes).toList();

    private Layouts() {}

    /// Numbers of the model that a stored tensor stands for.
    public static long parameters(TensorReader reader, TensorInfo info) {
        return ALL.stream()
                .flatMapToLong(layout -> layout.parameters(reader, info).stream())
                .findFirst()
                .orElse(info.shape().size());
    }

    /// [WeightLayout#scales] of the layout that a layer has.
    public static Optional<WeightLayout.ScalesAt> scales(Checkpoint c, String linear) {
        return ALL.stream()
                .filter(layout -> c.isQuantized() && layout.matches(c, linear))
                .findFirst()
                .flatMap(layout -> layout.scales(c, linear));
    }

    /// The same for a tensor that may have the scales of a layer; empty where it does not.
    public static Optional<WeightLayout.ScalesAt> scalesIn(Checkpoint c, String tensor) {
        String linear = tensor.substring(0, Math.max(0, tensor.lastIndexOf('.')));
        return scales(c, linear).filter(scales -> scales.tensor().equals(tensor));
    }

    /// @throws UserException where there is none of this name; names those that there are
    public static WeightLayout named(String name) {
        return WRITTEN.stream()
                .filter(layout -> layout.name().equals(name))
                .findFirst()
                .orElseThrow(() ->
                        new UserException(
                                "unknown layout '%s'".formatted(name),
                                "expected one of " + names(WRITTEN)));
    }

    static String names(List<WeightLayout> layouts) {
        return layouts.stream().map(WeightLayout::name).collect(Collectors.joining(", "));
    }
}
