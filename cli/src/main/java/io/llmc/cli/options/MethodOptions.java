// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.Targets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.stream.Collectors;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;

/// The methods of one command, alone or in a chain, and the options of each; recipes know those of
/// all commands.
public final class MethodOptions {
    public static final String METHOD = "--method";

    /// Where a command's recipe lists the methods.
    public static final String SWEEP = "steps.0.sweep";

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
                        .description(
                                "${COMPLETION-CANDIDATES}, or several one after the other, as a+b"
                                        + " (default: ${DEFAULT-VALUE}).")
                        .build();
        SequencedMap<String, List<Option<?>>> byMethod = new LinkedHashMap<>();
        methods.forEach(m -> byMethod.put(m.name(), m.options()));
        this.options = new DeclaredOptions(byMethod);
    }

    public void addTo(CommandSpec command) {
        command.addMixin("method", CommandSpec.create().addOption(method));
        options.addTo(command, "options");
    }

    /// The methods of the chain, and the one that rounds what the last of them has prepared.
    ///
    /// @throws RecipeException where the command has no such method
    private List<PassFactory> chain() {
        List<PassFactory> chain = new ArrayList<>();
        for (String name : method.<String>getValue().split("\\+", -1)) {
            chain.add(find(name));
        }
        chain.getLast().rounder().ifPresent(name -> chain.add(find(name)));
        return chain;
    }

    private PassFactory find(String name) {
        String wanted = Options.camel(name);
        return methods.stream()
                .filter(m -> Options.camel(m.name()).equals(wanted))
                .findFirst()
                .orElseThrow(() ->
                        new RecipeException(
                                METHOD,
                                "unknown method %s; known: %s".formatted(name, names(methods))));
    }

    private static String names(List<PassFactory> methods) {
        return methods.stream().map(PassFactory::name).collect(Collectors.joining(", "));
    }

    /// The items of a sweep: `0.gptq`, `0.gptq.bits`. A flag goes to each method of the chain that
    /// declares it.
    ///
    /// @throws RecipeException where none of them declares a flag that was given
    public List<Setting> toSettings() {
        List<PassFactory> chain = chain();
        List<Setting> all = new ArrayList<>();
        for (int i = 0; i < chain.size(); i++) {
            String owner = chain.get(i).name();
            String item = i + "." + owner;
            all.add(new Setting(item, new LinkedHashMap<>(), METHOD));
            options.toSettings(owner).forEach(s -> all.add(s.within(item)));
        }
        options.requireKnown(chain.stream().map(PassFactory::name).toList());
        return all;
    }

    /// Where `--set` puts a value: into each method of the chain that declares its key. One that
    /// none declares goes to the last, whose reader knows what it is near to.
    ///
    /// @param change `key=value`
    public List<String> toItems(String change) {
        List<PassFactory> chain = chain();
        String key = Options.camel(change.substring(0, Math.max(0, change.indexOf('='))).strip());
        List<String> items = new ArrayList<>();
        for (int i = 0; i < chain.size(); i++) {
            boolean declares = chain.get(i).options().stream().anyMatch(o -> o.key().equals(key));
            if (declares || items.isEmpty() && i == chain.size() - 1) {
                items.add(SWEEP + "." + i + "." + chain.get(i).name());
            }
        }
        return items;
    }

    /// Which layers alone: whatever the method, where there is nothing left to choose for it.
    public List<Setting> toTargets() {
        List<String> keys = Targets.OPTIONS.stream().map(Option::key).toList();
        return methods.stream()
                .flatMap(m -> options.toSettings(m.name()).stream())
                .filter(s -> keys.contains(s.key()))
                .distinct()
                .toList();
    }
}
