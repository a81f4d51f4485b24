// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import picocli.CommandLine;
import picocli.CommandLine.Help;
import picocli.CommandLine.IHelpSectionRenderer;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Model.UsageMessageSpec;

/// The list of options in `--help`: a heading a mixin, named after the mixin's field.
final class GroupedOptions implements IHelpSectionRenderer {
    /// What picocli calls its own mixin of --help and --version.
    private static final String STANDARD_HELP = "mixinStandardHelpOptions";

    static Map<String, IHelpSectionRenderer> sections(CommandLine line) {
        Map<String, IHelpSectionRenderer> sections = new HashMap<>(line.getHelpSectionMap());
        sections.put(UsageMessageSpec.SECTION_KEY_OPTION_LIST, new GroupedOptions());
        return sections;
    }

    @Override
    public String render(Help help) {
        CommandSpec command = help.commandSpec();
        Set<OptionSpec> rest = new LinkedHashSet<>(command.options());
        Map<String, List<OptionSpec>> groups = new LinkedHashMap<>();
        command.mixins().forEach((name, mixin) -> groups.put(heading(name), mixin.options()));
        groups.remove(heading(STANDARD_HELP));
        groups.remove("Log"); // where they are not inherited
        groups.values().forEach(rest::removeAll);
        Map<Boolean, List<OptionSpec>> general =
                rest.stream().collect(Collectors.partitioningBy(o -> isGeneral(command, o)));
        StringBuilder text = new StringBuilder();
        append(text, help, "Options", general.get(false));
        groups.forEach((name, options) -> append(text, help, name, options));
        append(text, help, "General", general.get(true));
        return text.toString();
    }

    private static boolean isGeneral(CommandSpec command, OptionSpec option) {
        return option.inherited()
                || option.usageHelp()
                || option.versionHelp()
                || command.parent() == null;
    }

    private static String heading(String field) {
        return Character.toUpperCase(field.charAt(0)) + field.substring(1);
    }

    private static void append(
            StringBuilder text, Help help, String heading, List<OptionSpec> options) {
        List<OptionSpec> shown = options.stream().filter(o -> !o.hidden()).toList();
        if (shown.isEmpty()) {
            return;
        }
        Help.Layout layout = help.createDefaultLayout(shown, List.of(), help.colorScheme());
        layout.addOptions(shown, help.createDefaultParamLabelRenderer());
        text.append(help.colorScheme().ansi().string("%n@|bold %s|@%n".formatted(heading)))
                .append(layout);
    }
}
