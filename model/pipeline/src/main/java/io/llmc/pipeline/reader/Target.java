// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.reader;

import static io.llmc.pipeline.reader.Rules.BLOCKS;
import static io.llmc.pipeline.reader.Rules.EXPERTS;
import static io.llmc.pipeline.reader.Rules.FEW_BITS_TIMES;
import static io.llmc.pipeline.reader.Rules.FEW_BITS_TIMES_INTEGERS;
import static io.llmc.pipeline.reader.Rules.FLOAT_GROUPS;
import static io.llmc.pipeline.reader.Rules.GROUPS;
import static io.llmc.pipeline.reader.Rules.INDEXED;
import static io.llmc.pipeline.reader.Rules.INT4_FP8;
import static io.llmc.pipeline.reader.Rules.INT8;
import static io.llmc.pipeline.reader.Rules.MX;
import static io.llmc.pipeline.reader.Rules.ONE_SCALE;
import static io.llmc.pipeline.reader.Rules.alike;
import static io.llmc.pipeline.reader.Rules.bits;
import static io.llmc.pipeline.reader.Rules.divided;
import static io.llmc.pipeline.reader.Rules.equalParts;
import static io.llmc.pipeline.reader.Rules.groups;
import static io.llmc.pipeline.reader.Rules.heads;
import static io.llmc.pipeline.reader.Rules.inGroups;
import static io.llmc.pipeline.reader.Rules.layouts;
import static io.llmc.pipeline.reader.Rules.noIndex;
import static io.llmc.pipeline.reader.Rules.oneScheme;
import static io.llmc.pipeline.reader.Rules.tiles;
import static io.llmc.pipeline.reader.Rules.unread;
import static io.llmc.pipeline.reader.Rules.wholeExperts;
import static io.llmc.pipeline.reader.Rules.wholeHeads;
import static io.llmc.pipeline.reader.Rules.wholeRows;
import static io.llmc.pipeline.reader.Rules.zeroPoints;

import io.llmc.formats.UserException;
import java.util.List;
import java.util.Locale;

/// The programs that read outputs, and the table of what each of them asks. As of vLLM 0.32, SGLang
/// 0.5, transformers 5 and llama.cpp's converter in September 2026; docs/adr/0022 says where each
/// rule stands in their sources.
public enum Target {
    VLLM(
            "vLLM",
            layouts("compressed-tensors", "gptq", "gptq_v2", "awq", "dense"),
            wholeHeads(),
            equalParts(),
            alike("vLLM"),
            bits(GROUPS, 4, 8),
            zeroPoints(GROUPS.in("gptq", "gptq_v2")),
            zeroPoints(GROUPS.in("compressed-tensors"), 4),
            zeroPoints(EXPERTS.in("compressed-tensors")),
            groups(GROUPS, 32, 64, 128),
            divided(GROUPS),
            noIndex(INDEXED.in("compressed-tensors")),
            tiles(INDEXED, 64, 128),
            zeroPoints(INT8),
            wholeRows(INT8),
            groups(INT4_FP8, 128),
            zeroPoints(INT4_FP8),
            tiles(INT4_FP8, 128, 128),
            tiles(BLOCKS, 128, 128),
            divided(FLOAT_GROUPS)),
    SGLANG(
            "SGLang",
            layouts("compressed-tensors", "gptq", "gptq_v2", "awq", "dense"),
            wholeHeads(),
            equalParts(),
            alike("SGLang"),
            bits(GROUPS.in("compressed-tensors"), 4, 8),
            bits(GROUPS.in("gptq", "gptq_v2"), 2, 3, 4, 8),
            noIndex(INDEXED.in("compressed-tensors")),
            zeroPoints(GROUPS.in("compressed-tensors")),
            groups(GROUPS, 32, 64, 128),
            divided(GROUPS),
            tiles(GROUPS, 64, 128),
            unread(FEW_BITS_TIMES, "w8a8"),
            zeroPoints(INT8),
            wholeRows(INT8),
            tiles(BLOCKS, 128, 128),
            divided(FLOAT_GROUPS)),
    TRANSFORMERS(
            "transformers",
            layouts("compressed-tensors", "gptq", "gptq_v2", "gptq_p", "awq", "dense"),
            heads(),
            Notes.EXPERTS,
            noIndex(INDEXED.in("compressed-tensors")),
            bits(GROUPS.in("gptq", "gptq_v2", "gptq_p"), 2, 3, 4, 8)),
    /// Its converter, which makes plain weights of packed ones before it rounds them anew.
    LLAMA_CPP(
            "llama.cpp's converter",
            layouts("compressed-tensors", "gptq", "dense"),
            bits(GROUPS.in("gptq"), 2, 3, 4, 8),
            oneScheme("compressed-tensors"),
            noIndex(INDEXED.in("compressed-tensors")),
            inGroups(GROUPS.in("compressed-tensors")),
            unread(FEW_BITS_TIMES_INTEGERS, "w8a8"),
            unread(ONE_SCALE, "fp8-dynamic"),
            unread(MX, "nvfp4a16"));

    private final String label;
    private final List<Rule> rules;

    Target(String label, Rule... rules) {
        this.label = label;
        this.rules = List.of(rules);
    }

    /// `vllm`, `llama.cpp`
    public String spelling() {
        return name().toLowerCase(Locale.ROOT).replace('_', '.');
    }

    /// Whether it reads an output.
    public boolean reads(Output output) {
        return rules.stream().allMatch(rule -> rule.conflicts(output).isEmpty());
    }

    /// @throws UserException with the nearest legal choice, where it would refuse the output
    public void require(Output output) {
        for (Rule rule : rules) {
            for (Rule.Conflict conflict : rule.conflicts(output)) {
                throw new UserException(
                        conflict.what().startsWith(label)
                                ? conflict.what()
                                : label + " would refuse it: " + conflict.what(),
                        conflict.nearest());
            }
        }
    }

    /// Rules that everybody should know of.
    private static final class Notes {
        /// As of transformers 5.24: docs/architectures.md has what was seen.
        static final Rule EXPERTS =
                wholeExperts(
                        "gemma4_text",
                        "gpt_oss",
                        "granitemoe",
                        "granitemoehybrid",
                        "qwen3_vl_moe_text");

        static final List<Rule> ALL = List.of(alike("vLLM"), heads(), EXPERTS);
    }

    /// What everybody should know, whoever reads the output.
    public static List<String> notes(Output output) {
        return Notes.ALL.stream()
                .flatMap(rule -> rule.conflicts(output).stream())
                .map(Rule.Conflict::note)
                .toList();
    }
}
