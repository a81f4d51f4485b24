// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.cli.options.DeclaredOptions;
import io.llmc.cli.options.MethodOptions;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import picocli.CommandLine;
import picocli.CommandLine.Help;
import picocli.CommandLine.IHelpSectionRenderer;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Model.UsageMessageSpec;
import picocli.CommandLine.ParseResult;

/// The list of options in `--help`: a heading a mixin, named after the mixin's field. Beside
/// `--method` the options of its methods alone.
final class GroupedOptions implements IHelpSectionRenderer {
    /// What picocli calls its own mixin of --help and --version.
    private static final String STANDARD_HELP = "mixinStandardHelpOptions";

    static Map<String, IHelpSectionRenderer> sections(CommandLine line) {
        Map<String, IHelpSectionRenderer> sections = new HashMap<>(line.getHelpSectionMap());
        sections.put(UsageMessageSpec.SECTION_KEY_OPTION_LIST, new GroupedOptions());
        return sections;
    }

    // Loops, not streams: this runs at every --help, and picocli's old class files keep what
    // touches them out of the archive of parsed classes.
    @Override
    public String render(Help help) {
        CommandSpec command = help.commandSpec();
        List<OptionSpec> rest = new ArrayList<>(command.options());
        StringBuilder text = new StringBuilder();
        // What a command is about comes first: it is declared beside the methods, in no class.
        for (boolean declared : new boolean[] {true, false}) {
            for (Map.Entry<String, CommandSpec> mixin : command.mixins().entrySet()) {
                CommandSpec group = mixin.getValue();
                if (!mixin.getKey().equals(STANDARD_HELP)
                        && command.parent() != null
                        && declared == (group.userObject() == null)) {
                    rest.removeAll(group.options());
                    append(text, help, heading(mixin.getKey()), group.options());
                }
            }
        }
        List<OptionSpec> own = new ArrayList<>();
        for (OptionSpec option : rest) {
            if (!isGeneral(command, option)) {
                own.add(option);
            }
        }
        rest.removeAll(own);
        append(text, help, "Options", own);
        append(text, help, "General", rest);
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

    /// The methods that were named beside --help.
    private static List<String> methods(CommandSpec command) {
        ParseResult parsed = command.commandLine().getParseResult();
        String named = parsed == null ? "" : parsed.matchedOptionValue(MethodOptions.METHOD, "");
        return named.isEmpty() ? List.of() : List.of(named.split("\\+", -1));
    }

    private static void append(
            StringBuilder text, Help help, String heading, List<OptionSpec> options) {
        List<OptionSpec> shown = new ArrayList<>();
        List<String> methods = methods(help.commandSpec());
        for (OptionSpec option : options) {
            OptionSpec ofMethod = DeclaredOptions.of(option, methods);
            if (!option.hidden() && ofMethod != null) {
                shown.add(ofMethod);
            }
        }
        if (shown.isEmpty()) {
            return;
        }
        Help.Layout layout = help.createDefaultLayout(shown, List.of(), help.colorScheme());
        layout.addOptions(shown, help.createDefaultParamLabelRenderer());
        text.append(help.colorScheme().ansi().string("%n@|bold %s|@%n".formatted(heading)))
                .append(layout);
    }
}
