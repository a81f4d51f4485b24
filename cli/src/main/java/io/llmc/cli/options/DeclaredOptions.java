// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import io.llmc.cli.terminal.Spelling;
import io.llmc.pipeline.Option;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SequencedMap;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;

/// Flags that follow from declarations of options: of one step, or of several methods, which share
/// some.
public final class DeclaredOptions {
    private final SequencedMap<String, Flag> flags = new LinkedHashMap<>();
    private final Map<String, List<Option<?>>> byOwner;

    /// One flag, and the option that it stands for in each method that has it.
    private final class Flag {
        final SequencedMap<String, Option<?>> meaning = new LinkedHashMap<>();
        OptionSpec spec;

        boolean isOfMethod(String owner) {
            return byOwner.containsKey(owner);
        }

        /// Null where the method has it not.
        OptionSpec spec(String owner) {
            return meaning.containsKey(owner)
                    ? OptionSpec.builder(spec).description(escaped(text(owner))).build()
                    : null;
        }

        Option<?> any() {
            return meaning.firstEntry().getValue();
        }

        /// Of one method, or of all: each sentence behind the methods that it is true of.
        String text(String owner) {
            if (meaning.containsKey(owner)) {
                return meaning.get(owner).text();
            }
            SequencedMap<String, List<String>> sentences = new LinkedHashMap<>();
            meaning.forEach((name, option) ->
                    sentences.computeIfAbsent(option.text(), _ -> new ArrayList<>()).add(name));
            if (meaning.size() == byOwner.size() && sentences.size() == 1) {
                return any().text();
            }
            List<String> all = new ArrayList<>();
            sentences.forEach((text, names) ->
                    all.add(
                            String.join(", ", names)
                                    + ": "
                                    + text.substring(0, 1).toLowerCase(Locale.ROOT)
                                    + text.substring(1)));
            return String.join(" ", all);
        }
    }

    /// @param byOwner options of each method
    public DeclaredOptions(Map<String, List<Option<?>>> byOwner) {
        this.byOwner = byOwner;
        byOwner.forEach((owner, options) -> {
            for (Option<?> option : options) {
                if (option.flag() != null) {
                    flags.computeIfAbsent(option.flag(), _ -> new Flag())
                            .meaning
                            .put(owner, option);
                }
            }
        });
        flags.forEach((name, flag) -> flag.spec = spec(name, flag));
    }

    private static OptionSpec spec(String name, Flag flag) {
        Option<?> option = flag.any();
        OptionSpec.Builder builder =
                OptionSpec.builder(name)
                        .type(option.kind().type())
                        .description(escaped(flag.text("")))
                        .userObject(flag);
        if (option.kind() == Option.Kind.SWITCH) {
            return builder.arity("0").build();
        }
        return builder.arity("1")
                .paramLabel(option.label())
                .completionCandidates(values(flag))
                .build();
    }

    /// picocli fills in variables and formats.
    private static String escaped(String text) {
        return Spelling.asFlags(text).replace("%", "%%");
    }

    private static List<String> values(Flag flag) {
        return flag.meaning.values().stream()
                .flatMap(option -> option.values().stream())
                .distinct()
                .toList();
    }

    /// Adds the flags to a command, as a group of its help.
    public void addTo(CommandSpec command, String heading) {
        CommandSpec group = CommandSpec.create();
        flags.values().forEach(flag -> group.addOption(flag.spec));
        command.addMixin(heading, group);
    }

    /// A flag as one method has it; null where it has not.
    ///
    /// @param owner any other text for what all methods say
    public static OptionSpec of(OptionSpec spec, String owner) {
        return spec.userObject() instanceof Flag flag && flag.isOfMethod(owner)
                ? flag.spec(owner)
                : spec;
    }

    /// What the method's declarations know and was given or is always stated, in their order; then
    /// what was given of other methods, which the recipe's reader refuses.
    public List<Setting> toSettings(String owner) {
        List<Setting> own = new ArrayList<>();
        List<Setting> others = new ArrayList<>();
        for (Option<?> option : byOwner.getOrDefault(owner, List.of())) {
            if (option.flag() != null) {
                Object value = flags.get(option.flag()).spec.getValue();
                boolean isStated = option.statedUnless() != null && !isGiven(option.statedUnless());
                Object stated = isStated ? option.absent() : null;
                own.add(setting(option, value == null ? stated : value));
            }
        }
        for (Flag flag : flags.values()) {
            if (!flag.meaning.containsKey(owner)) {
                others.add(setting(flag.any(), flag.spec.getValue()));
            }
        }
        own.addAll(others);
        return own;
    }

    private boolean isGiven(String key) {
        return flags.values().stream()
                .anyMatch(flag -> flag.any().key().equals(key) && flag.spec.getValue() != null);
    }

    private static Setting setting(Option<?> option, Object value) {
        String flag = option.flag();
        if (value == null) {
            return new Setting(option.key(), null, flag);
        }
        return switch (option.kind()) {
            case LIST -> Setting.list(option.key(), value.toString(), flag);
            case SWITCH -> new Setting(option.key(), !(Boolean) option.absent(), flag);
            case NUMBER_OR_WORD -> new Setting(option.key(), number(value.toString()), flag);
            case INTEGER, WHOLE, DECIMAL, TEXT -> new Setting(option.key(), value, flag);
        };
    }

    private static Object number(String text) {
        return text.matches("[0-9]{1,9}") ? (Object) Integer.valueOf(text) : text;
    }
}
