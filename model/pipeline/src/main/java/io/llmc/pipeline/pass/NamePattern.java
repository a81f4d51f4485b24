// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import io.llmc.formats.BoundedRegex;
import io.llmc.formats.BoundedRegex.RegexException;
import io.llmc.formats.UserException;

/// One pattern over names of layers or tensors, as people write it.
///
/// A glob: `*` stands for any run of characters, `?` for one; one without a dot also matches the
/// last part of a name, so that `down_proj` means what it seems to. Or `re:` and a regular
/// expression that the name must begin with, as in recipes of compressed-tensors: Python's
/// `re.match` over the whole name.
final class NamePattern {
    private static final String REGEX = "re:";

    private final String text;
    private final BoundedRegex regex;
    private final boolean glob;

    /// @throws RegexException where it is no regular expression
    NamePattern(String text) throws RegexException {
        this.text = text;
        this.glob = !text.startsWith(REGEX);
        this.regex = BoundedRegex.compile(glob ? regex(text) : text.substring(REGEX.length()));
    }

    private static String regex(String glob) {
        StringBuilder regex = new StringBuilder("(?s)");
        for (int i = 0; i < glob.length(); i++) {
            char c = glob.charAt(i);
            switch (c) {
                case '*' -> regex.append(".*");
                case '?' -> regex.append('.');
                default -> regex.append(Character.isLetterOrDigit(c) ? "" : "\\").append(c);
            }
        }
        return regex.toString();
    }

    /// @throws UserException where that takes too long to find out
    boolean matches(String name) {
        try {
            if (!glob) {
                return regex.lookingAt(name);
            }
            String last = name.substring(name.lastIndexOf('.') + 1);
            return regex.matches(name) || (text.indexOf('.') < 0 && regex.matches(last));
        } catch (RegexException e) {
            throw new UserException(e.getMessage(), "write it without them");
        }
    }

    boolean isGlob() {
        return glob;
    }

    /// A pattern that is a regular expression, allowed to begin anywhere in a name.
    String anywhere() {
        return REGEX + ".*" + text.substring(REGEX.length()).replaceFirst("^\\^", "");
    }

    @Override
    public String toString() {
        return text;
    }
}
