// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import picocli.CommandLine;
import picocli.CommandLine.Help;
import picocli.CommandLine.IHelpSectionRenderer;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Model.UsageMessageSpec;

/// The list of options in `--help`: a heading a mixin, named after the mixin's field.
final class GroupedOptions implements IHelpSectionRenderer {
    static Map<String, IHelpSectionRenderer> sections(CommandLine line) {
        Map<String, IHelpSectionRenderer> sections = new HashMap<>(line.getHelpSectionMap());
        sections.put(UsageMessageSpec.SECTION_KEY_OPTION_LIST, new GroupedOptions());
        return sections;
    }

    @Override
    public String render(Help help) {
        CommandSpec command = help.commandSpec();
        Map<String, List<OptionSpec>> groups = new LinkedHashMap<>();
        command.mixins().forEach((name, mixin) -> groups.put(name, mixin.options()));
        List<OptionSpec> rest =
                command.options().stream()
                        .filter(o -> groups.values().stream().noneMatch(g -> g.contains(o)))
                        .toList();
        StringBuilder text = new StringBuilder();
        groups.forEach((name, options) -> append(text, help, heading(name), options));
        append(text, help, "General", rest);
        return text.toString();
    }

    private static String heading(String field) {
        return Character.toUpperCase(field.charAt(0)) + field.substring(1);
    }

    private static void append(StringBuilder text, Help help, String heading, List<OptionSpec> options) {
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
