// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.pipeline.PassFactory;
import io.llmc.quantize.QuantizePasses;
import java.util.Iterator;
import picocli.CommandLine.Option;

/// Mixin: how weights are found.
final class MethodOptions {
    @Option(
            names = "--method",
            paramLabel = "NAME",
            defaultValue = "gptq",
            completionCandidates = Names.class,
            description = "${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
    private String method;

    String toName() {
        return method;
    }

    static final class Names implements Iterable<String> {
        @Override
        public Iterator<String> iterator() {
            return QuantizePasses.ALL.stream().map(PassFactory::name).iterator();
        }
    }
}
