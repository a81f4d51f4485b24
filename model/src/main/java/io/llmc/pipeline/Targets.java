// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import java.util.List;
import java.util.regex.Pattern;

/// Which linear layers a pass works on, by globs over their names: `*.mlp.*`, `model.layers.0.*`.
///
/// @param include a layer must match one of them; empty means every layer of the blocks
/// @param ignore and none of these
public record Targets(List<String> include, List<String> ignore) {
    public static final Targets ALL = new Targets(List.of(), List.of());

    /// Reads `targets` and `ignore`.
    public static Targets read(Options o) {
        return new Targets(o.texts("targets"), o.texts("ignore"));
    }

    public boolean selects(String name) {
        return (include.isEmpty() || include.stream().anyMatch(glob -> matches(glob, name)))
                && ignore.stream().noneMatch(glob -> matches(glob, name));
    }

    /// `*` stands for any run of characters, `?` for one; a glob without a dot also matches the
    /// last part of a name, so that `down_proj` means what it seems to.
    public static boolean matches(String glob, String name) {
        Pattern pattern = Pattern.compile(regex(glob), Pattern.DOTALL);
        String last = name.substring(name.lastIndexOf('.') + 1);
        return pattern.matcher(name).matches()
                || (glob.indexOf('.') < 0 && pattern.matcher(last).matches());
    }

    private static String regex(String glob) {
        StringBuilder regex = new StringBuilder();
        for (int i = 0; i < glob.length(); i++) {
            char c = glob.charAt(i);
            switch (c) {
                case '*' -> regex.append(".*");
                case '?' -> regex.append('.');
                default -> regex.append(Pattern.quote(String.valueOf(c)));
            }
        }
        return regex.toString();
    }
}
