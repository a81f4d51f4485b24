// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class SplitPatternTest {
    /// Of GPT-2, Llama 3, Qwen, GPT-4o, Tekken, BLOOM, DeepSeek, Kimi, SuperBPE and others.
    @ParameterizedTest
    @ValueSource(
            strings = {
                "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|"
                        + " ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
                "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r"
                        + "\\n"
                        + "\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r"
                        + "\\n"
                        + "]*|\\s*[\\r"
                        + "\\n"
                        + "]+|\\s+(?!\\S)|\\s+",
                "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r"
                        + "\\n"
                        + "\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r"
                        + "\\n"
                        + "]*|\\s*[\\r"
                        + "\\n"
                        + "]+|\\s+(?!\\S)|\\s+",
                "[^\\r"
                        + "\\n"
                        + "\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r"
                        + "\\n"
                        + "\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}|"
                        + " ?[^\\s\\p{L}\\p{N}]+[\\r"
                        + "\\n"
                        + "/]*|\\s*[\\r"
                        + "\\n"
                        + "]+|\\s+(?!\\S)|\\s+",
                "[^\\r"
                        + "\\n"
                        + "\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r"
                        + "\\n"
                        + "\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}|"
                        + " ?[^\\s\\p{L}\\p{N}]+[\\r"
                        + "\\n"
                        + "/]*|\\s*[\\r"
                        + "\\n"
                        + "]+|\\s+(?!\\S)|\\s+",
                " ?[^(\\s|[.,!?…。，、।۔،])]+",
                " ?[^(\\s|.,!?…。，、।۔،)]+",
                "[0-9][0-9][0-9]",
                "\\p{N}{1,3}",
                "[一-龥぀-ゟ゠-ヿ]+",
                "[一-龥ࠀ-一가-퟿]+",
                "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r"
                        + "\\n"
                        + "\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r"
                        + "\\n"
                        + "]*|\\s*[\\r"
                        + "\\n"
                        + "]+|\\s+(?!\\S)|\\s+",
                "[\\r\\n]",
                "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-Ρ]+",
                "\\s?[!-/:-~！-／：-～‘-‟　-。]+",
                "\\s+$",
                "[一-龥ࠀ-一가-퟿]+",
                "'(?i:[sdmt]|ll|ve|re)|[^\\r"
                        + "\\n"
                        + "\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r"
                        + "\\n"
                        + "]*|\\s*[\\r"
                        + "\\n"
                        + "]|\\s+(?!\\S)|\\s+",
                "'(?i:[sdmt]|ll|ve|re)|[^\\r"
                        + "\\n"
                        + "\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+| ?[^\\s\\p{L}\\p{N}]++[\\r"
                        + "\\n"
                        + "]*+|\\s++$|\\s*[\\r"
                        + "\\n"
                        + "]|\\s+(?!\\S)|\\s",
                "(?=(\\d{3})+(?!\\d))",
                "\\d{1,3}(?=(?:\\d{3})*\\b)",
                "[\\p{Han}]+|[^\\r"
                        + "\\n"
                        + "\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r"
                        + "\\n"
                        + "\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}|"
                        + " ?[^\\s\\p{L}\\p{N}]+[\\r"
                        + "\\n"
                        + "]*|\\s*[\\r"
                        + "\\n"
                        + "]+|\\s+(?!\\S)|\\s+",
                "[^\\r"
                        + "\\n"
                        + "\\p{L}\\p{N}]?((?=[\\p{L}])([^a-z]))*((?=[\\p{L}])([^A-Z]))+(?:'[sS]|'[tT])?|\\s+",
                "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\\r"
                        + "\\n"
                        + "\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}",
                "\\w+|[^\\w\\s]+",
                " {2,}",
                " +▁",
                "^▁+$",
                "\\A +| +\\z",
                "\\s{2,}|[\\n\\r\\t]",
                "(<image>)(?:(?:IMGIMG)[A-Z]{1,4}IMGEND)",
                "\\d(?=(?:\\d{3})*(?:\\D|$))",
                "(?<=\\S)\\s+",
                "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+",
                "[^\\s]+\\s*|\\s+",
                "\\n{3,}",
                "(?:\\r?\\n)+",
                "<\\|[a-z_]+\\|>",
                "(?:<\\w+>)+|\\s+",
                "\\d+(?:\\.\\d+)?|\\w+",
                " ?\\p{L}+(?:['’]\\p{L}+)*"
            })
    void publishedPatternsPass(String pattern) throws SplitPattern.Unsafe {
        assertThat(SplitPattern.check(pattern).effort()).isLessThan(27);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "(a|a)*$",
                "(a|ab|b)*$",
                "(\\w+\\s?)+$",
                "(a*)*b",
                "(?:a+b?)+c",
                "\\s*\\s*y",
                "\\w+\\s*\\w+\\d",
                "(a{1,9})*b",
                "(?:a?){30}a{30}$",
                "(?=.*a.*b.*c)x+",
                "(?:(?=a*b)a)*",
                "a*a*a*b",
                "(a|b|ab)*c",
                "((a+)b?)*c",
                "(.+)+x",
                "(?:\\p{L}+\\p{M}*)+!",
                "([a-z]+[0-9]*)+;",
                "(?:x+x+)+y",
                "(?i)(k+K+)+y",
                "(a+){10,}b",
                ".*.*.*=.*",
                "\\s+\\s+$",
                "(?:a{0,50}){0,20}b",
                "(?>a*)*b",
                "(a*+)*b",
                "(?:a|b*)*c",
                "^(\\s*\\w+)*;$",
                "(?:(?:a)*)*b",
                "(?:ab?|ab)*c",
                "(\\d+)*\\.",
                "(?:[^x]|\\s)*y",
                "(\\d{1,3})+$",
                "(\\p{N}{1,3}+)a",
                "(?:a*|b)+c",
                "(a?){1000}b",
                "((a?){30}){30}b",
                "(?:a+|b+)*c",
                "(?:a+|b+)+(?:a+|b+)+c",
                "(?:aa|aaa)*b",
                "(a+)+$",
                "(.*)*x",
                "(?:a?){40}a{40}",
                "a{1,100000}",
                "(a{1,1000}){1,1000}",
                "(a)\\1+",
                "\\g<0>",
                "(?R)",
                "\\X+",
                "(",
                "[",
                "a)",
                "\\"
            })
    void whatCouldTakeForEverIsRefused(String pattern) {
        assertThatThrownBy(() -> SplitPattern.check(pattern))
                .isInstanceOf(SplitPattern.Unsafe.class);
    }

    @Test
    void longAndDeepPatternsAreRefused() {
        assertThatThrownBy(() -> SplitPattern.check("x".repeat(20_000)))
                .hasMessageContaining("has 20,000 characters");
        assertThatThrownBy(() -> SplitPattern.check("(".repeat(5000) + ")".repeat(5000)))
                .hasMessageContaining("nests its groups");
        assertThatThrownBy(() -> SplitPattern.check("[".repeat(5000) + "]".repeat(5000)))
                .hasMessageContaining("nests its classes");
        assertThatThrownBy(() -> SplitPattern.check("a?".repeat(60) + "a".repeat(60)))
                .hasMessageContaining("too many ways");
    }
}
