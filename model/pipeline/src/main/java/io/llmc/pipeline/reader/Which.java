// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.reader;

import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import java.util.List;
import java.util.function.Predicate;

/// The layers that a rule is about.
///
/// @param layouts empty for all
record Which(Predicate<Output.Part> layers, List<String> layouts) {
    static Which of(Predicate<Output.Part> layers) {
        return new Which(layers, List.of());
    }

    Which in(String... some) {
        return new Which(layers, List.of(some));
    }

    List<Output.Part> of(Output output) {
        return layouts.isEmpty() || layouts.contains(output.layout())
                ? output.packed().stream().filter(layers).toList()
                : List.of();
    }

    static Encoding.Grid<?> grid(Output.Part part) {
        return (Encoding.Grid<?>) part.scheme().weights();
    }

    static boolean ints(Output.Part part) {
        return grid(part).codes() instanceof Codes.Ints;
    }

    static boolean inputsAre(Output.Part part, Class<? extends Codes> kind) {
        Scheme scheme = part.scheme();
        return scheme.inputs().isPresent() && kind.isInstance(scheme.inputs().get().codes());
    }
}
