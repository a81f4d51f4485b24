// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.pipeline.pass.Targets;
import io.llmc.pipeline.sweep.Preset;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;

/// The methods of one command, alone or in a chain, and the options of each; recipes know those of
/// all commands.
public final class MethodOptions {
    public static final String METHOD = "--method";

    /// Where a command's recipe lists the methods.
    private static final String SWEEP = "steps.0.sweep";

    private static final String PRESET = "--preset";

    private final List<PassFactory> methods;
    private final List<Preset> presets;
    private final String usual;
    private final OptionSpec method;
    private final OptionSpec preset =
            OptionSpec.builder(PRESET)
                    .type(String.class)
                    .paramLabel("NAME")
                    .arity("1")
                    .description(
                            "A chain of methods with settings, which other flags may change: see"
                                    + " --list-presets.")
                    .build();
    private final OptionSpec list =
            OptionSpec.builder("--list-presets")
                    .type(boolean.class)
                    .arity("0")
                    .help(true) // MODEL and OUT are not needed then
                    .description("List the presets; change nothing.")
                    .build();
    private final DeclaredOptions options;

    /// @param presets chains of them by name
    /// @param usual the method where none is named
    public MethodOptions(List<PassFactory> methods, List<Preset> presets, String usual) {
        this.methods = methods;
        this.presets = presets;
        this.usual = usual;
        this.method =
                OptionSpec.builder(METHOD)
                        .type(String.class)
                        .paramLabel("NAME")
                        .arity("1")
                        .completionCandidates(named(methods).map(PassFactory::name).toList())
                        .description(
                                "${COMPLETION-CANDIDATES}, or several one after the other, as a+b"
                                        + " (default: %s).".formatted(usual))
                        .build();
        SequencedMap<String, List<Option<?>>> byMethod = new LinkedHashMap<>();
        methods.forEach(m -> byMethod.put(m.name(), m.options()));
        this.options = new DeclaredOptions(byMethod);
    }

    public void addTo(CommandSpec command) {
        CommandSpec group = CommandSpec.create().addOption(method);
        if (!presets.isEmpty()) {
            group.addOption(preset).addOption(list);
        }
        command.addMixin("method", group);
        options.addTo(command, "options");
    }

    /// Whether only a list of the presets is asked for.
    public boolean toList() {
        return Boolean.TRUE.equals(list.getValue());
    }

    /// The methods of the chain, and the one that rounds what the last of them has prepared.
    ///
    /// @throws RecipeException where the command has no such method
    private List<PassFactory> chain() {
        List<PassFactory> chain = new ArrayList<>();
        String names = method.getValue() == null ? usual : method.getValue();
        for (String name : names.split("\\+", -1)) {
            chain.add(find(name));
        }
        chain.getLast().rounder().ifPresent(name -> chain.add(find(name)));
        return chain;
    }

    /// Those that `--method` may name.
    private static Stream<PassFactory> named(List<PassFactory> methods) {
        return methods.stream().filter(m -> m.beside() == null);
    }

    /// Methods that join because one of their flags was given.
    private List<PassFactory> joining(PassFactory.Beside end) {
        return methods.stream()
                .filter(m -> m.beside() == end)
                .filter(m -> options.toGiven(m.name()).stream().anyMatch(s -> s.value() != null))
                .toList();
    }

    private static String item(int index) {
        return SWEEP + "." + index;
    }

    /// An item of the sweep.
    private List<Setting> settings(int index, PassFactory factory) {
        String item = item(index) + "." + factory.name();
        List<Setting> all = new ArrayList<>();
        all.add(new Setting(item, new LinkedHashMap<>(), METHOD));
        options.toSettings(factory.name()).forEach(s -> all.add(s.within(item)));
        return all;
    }

    private PassFactory find(String name) {
        String wanted = Options.camel(name);
        return named(methods)
                .filter(m -> Options.camel(m.name()).equals(wanted))
                .findFirst()
                .orElseThrow(() ->
                        new RecipeException(
                                METHOD,
                                "unknown method %s; known: %s".formatted(name, names(methods))));
    }

    private static String names(List<PassFactory> methods) {
        return named(methods).map(PassFactory::name).collect(Collectors.joining(", "));
    }

    /// What a command's recipe says of them: `steps.0.sweep.0.gptq.bits`. A flag goes to each
    /// method of the chain that declares it.
    ///
    /// @throws RecipeException where none of them declares a flag that was given
    public List<Setting> toSettings() {
        List<PassFactory> before = joining(PassFactory.Beside.BEFORE);
        List<PassFactory> behind = joining(PassFactory.Beside.BEHIND);
        List<Setting> all = new ArrayList<>();
        int items = 0;
        for (PassFactory method : before) {
            all.addAll(settings(items++, method));
        }
        List<String> joined =
                Stream.of(before, behind).flatMap(List::stream).map(PassFactory::name).toList();
        if (preset.getValue() != null) {
            all.addAll(ofPreset(preset.getValue(), item(items++), joined));
        } else {
            List<PassFactory> chain = chain();
            for (PassFactory method : chain) {
                all.addAll(settings(items++, method));
            }
            List<String> owners = new ArrayList<>(chain.stream().map(PassFactory::name).toList());
            String what = String.join("+", owners);
            owners.addAll(joined);
            options.requireKnown(what, owners);
        }
        for (PassFactory method : behind) {
            all.addAll(settings(items++, method));
        }
        return all;
    }

    private List<Setting> ofPreset(String name, String item, List<String> joined) {
        if (method.getValue() != null) {
            throw new RecipeException(
                    METHOD, "a preset names its methods itself; leave --method or --preset out");
        }
        List<Setting> all = new ArrayList<>();
        all.add(new Setting(item + "." + Preset.KEY, name, PRESET));
        // A preset that there is not is refused by the recipe's reader.
        presets.stream()
                .filter(p -> p.name().equals(name))
                .forEach(p -> {
                    List<String> owners = p.chain().stream().map(Preset.Link::method).toList();
                    owners.forEach(
                            owner -> options.toGiven(owner).forEach(s -> all.add(s.within(item))));
                    List<String> known = new ArrayList<>(owners);
                    known.addAll(joined);
                    options.requireKnown(
                            "preset %s (%s)".formatted(name, String.join("+", owners)), known);
                });
        return all;
    }

    /// Where `--set` puts a value: into each method of the chain that declares its key. One that
    /// none declares goes to the last, whose reader knows what it is near to.
    ///
    /// @param change `key=value`
    public List<String> toItems(String change) {
        int before = joining(PassFactory.Beside.BEFORE).size();
        if (preset.getValue() != null) {
            return List.of(item(before));
        }
        List<PassFactory> chain = chain();
        String key = Options.camel(change.substring(0, Math.max(0, change.indexOf('='))).strip());
        List<String> items = new ArrayList<>();
        for (int i = 0; i < chain.size(); i++) {
            boolean declares = chain.get(i).options().stream().anyMatch(o -> o.key().equals(key));
            if (declares || items.isEmpty() && i == chain.size() - 1) {
                items.add(item(before + i) + "." + chain.get(i).name());
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
