// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import io.llmc.cli.terminal.Spelling;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.RecipeException;
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

        /// As some methods have it; null where none has.
        OptionSpec spec(List<String> owners) {
            return owners.stream().anyMatch(meaning::containsKey)
                    ? OptionSpec.builder(spec).description(escaped(text(owners))).build()
                    : null;
        }

        Option<?> any() {
            return meaning.firstEntry().getValue();
        }

        /// Each sentence behind the methods that it is true of, unless it is true of all.
        ///
        /// @param owners none for all methods
        String text(List<String> owners) {
            SequencedMap<String, List<String>> sentences = new LinkedHashMap<>();
            meaning.forEach((name, option) -> {
                if (owners.isEmpty() || owners.contains(name)) {
                    sentences.computeIfAbsent(option.text(), _ -> new ArrayList<>()).add(name);
                }
            });
            boolean all = !owners.isEmpty() || meaning.size() == byOwner.size();
            if (all && sentences.size() == 1) {
                return sentences.firstEntry().getKey();
            }
            List<String> texts = new ArrayList<>();
            sentences.forEach((text, names) ->
                    texts.add(
                            String.join(", ", names)
                                    + ": "
                                    + text.substring(0, 1).toLowerCase(Locale.ROOT)
                                    + text.substring(1)));
            return String.join(" ", texts);
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
                        .description(escaped(flag.text(List.of())))
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

    /// A flag as some methods have it; null where none has.
    ///
    /// @param owners none, or one that is unknown, for what all methods say
    public static OptionSpec of(OptionSpec spec, List<String> owners) {
        if (!(spec.userObject() instanceof Flag flag) || owners.isEmpty()) {
            return spec;
        }
        for (String owner : owners) {
            if (!flag.isOfMethod(owner)) {
                return spec;
            }
        }
        return flag.spec(owners);
    }

    /// What the method's declarations know and was given or is always stated, in their order.
    public List<Setting> toSettings(String owner) {
        return toSettings(owner, true);
    }

    /// What the method's declarations know and was given.
    List<Setting> toGiven(String owner) {
        return toSettings(owner, false);
    }

    private List<Setting> toSettings(String owner, boolean states) {
        List<Setting> own = new ArrayList<>();
        for (Option<?> option : byOwner.getOrDefault(owner, List.of())) {
            if (option.flag() != null) {
                Object value = flags.get(option.flag()).spec.getValue();
                boolean isStated =
                        states && option.statedUnless() != null && !isGiven(option.statedUnless());
                Object stated = isStated ? option.absent() : null;
                own.add(setting(option, value == null ? stated : value));
            }
        }
        return own;
    }

    /// @param who is asked to take the flags
    /// @throws RecipeException naming the first flag that was given and that none of the methods
    ///   has
    void requireKnown(String who, List<String> owners) {
        flags.forEach((name, flag) -> {
            if (flag.spec.getValue() != null
                    && owners.stream().noneMatch(flag.meaning::containsKey)) {
                throw new RecipeException(
                        name,
                        "%s has no such option; it belongs to %s"
                                .formatted(who, String.join(", ", flag.meaning.keySet())));
            }
        });
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
            case TEXTS -> Setting.texts(option.key(), value.toString(), flag);
            case SWITCH -> new Setting(option.key(), !(Boolean) option.absent(), flag);
            case NUMBER_OR_WORD -> new Setting(option.key(), number(value.toString()), flag);
            case INTEGER, WHOLE, DECIMAL, TEXT -> new Setting(option.key(), value, flag);
        };
    }

    private static Object number(String text) {
        return text.matches("[0-9]{1,9}") ? (Object) Integer.valueOf(text) : text;
    }
}
