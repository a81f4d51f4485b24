// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.Targets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.stream.Collectors;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;

/// The methods of one command, and the options of each; recipes know those of all commands.
public final class MethodOptions {
    public static final String METHOD = "--method";

    private final List<PassFactory> methods;
    private final OptionSpec method;
    private final DeclaredOptions options;

    /// @param usual the method where none is named
    public MethodOptions(List<PassFactory> methods, String usual) {
        this.methods = methods;
        this.method =
                OptionSpec.builder(METHOD)
                        .type(String.class)
                        .paramLabel("NAME")
                        .arity("1")
                        .defaultValue(usual)
                        .completionCandidates(methods.stream().map(PassFactory::name).toList())
                        .description("${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
                        .build();
        SequencedMap<String, List<Option<?>>> byMethod = new LinkedHashMap<>();
        methods.forEach(m -> byMethod.put(m.name(), m.options()));
        this.options = new DeclaredOptions(byMethod);
    }

    public void addTo(CommandSpec command) {
        command.addMixin("method", CommandSpec.create().addOption(method));
        options.addTo(command, "options");
    }

    /// @throws RecipeException where the command has no such method
    public String toMethod() {
        String name = method.getValue();
        String wanted = Options.camel(name);
        if (methods.stream().noneMatch(m -> Options.camel(m.name()).equals(wanted))) {
            throw new RecipeException(
                    METHOD,
                    "unknown method %s; known: %s"
                            .formatted(
                                    name,
                                    methods.stream()
                                            .map(PassFactory::name)
                                            .collect(Collectors.joining(", "))));
        }
        return name;
    }

    public List<Setting> toSettings() {
        String wanted = Options.camel(toMethod());
        return options.toSettings(
                methods.stream()
                        .map(PassFactory::name)
                        .filter(name -> Options.camel(name).equals(wanted))
                        .findFirst()
                        .orElseThrow());
    }

    /// Which layers alone: whatever the method, where there is nothing left to choose for it.
    public List<Setting> toTargets() {
        List<String> keys = Targets.OPTIONS.stream().map(Option::key).toList();
        return options.toSettings("").stream().filter(s -> keys.contains(s.key())).toList();
    }
}
