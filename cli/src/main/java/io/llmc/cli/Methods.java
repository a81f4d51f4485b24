// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.pipeline.Options;
import io.llmc.pipeline.PassFactory;
import io.llmc.pipeline.RecipeException;
import java.util.Iterator;
import java.util.List;
import java.util.stream.Collectors;

/// The methods of one command; recipes know those of all.
record Methods(List<PassFactory> passes) implements Iterable<String> {
    /// @return the method
    /// @throws RecipeException where the command has no such method
    String require(String method) {
        String wanted = Options.camel(method);
        if (passes.stream().noneMatch(p -> Options.camel(p.name()).equals(wanted))) {
            throw new RecipeException(
                    "--method",
                    "unknown method %s; known: %s"
                            .formatted(
                                    method,
                                    passes.stream()
                                            .map(PassFactory::name)
                                            .collect(Collectors.joining(", "))));
        }
        return method;
    }

    @Override
    public Iterator<String> iterator() {
        return passes.stream().map(PassFactory::name).iterator();
    }
}
