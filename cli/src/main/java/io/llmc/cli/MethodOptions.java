// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.quantize.QuantizePasses;
import java.util.Iterator;
import picocli.CommandLine.Option;

/// Mixin: how weights are found.
final class MethodOptions {
    /// What becomes of a packed model that is to be plain, whatever method is asked for.
    static final String UNPACK = "unpack";

    private static final Methods METHODS = new Methods(QuantizePasses.ALL);

    @Option(
            names = "--method",
            paramLabel = "NAME",
            defaultValue = "gptq",
            completionCandidates = Names.class,
            description = "${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
    private String method;

    /// @throws io.llmc.pipeline.RecipeException where no quantizer has this name
    String toName() {
        return METHODS.require(method);
    }

    static final class Names implements Iterable<String> {
        @Override
        public Iterator<String> iterator() {
            return METHODS.iterator();
        }
    }
}
