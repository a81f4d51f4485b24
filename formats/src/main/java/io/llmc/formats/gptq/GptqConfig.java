// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gptq;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.BoundedRegex;
import io.llmc.formats.BoundedRegex.RegexException;
import io.llmc.formats.ConfigSection;
import io.llmc.formats.Json;
import io.llmc.formats.Solver;
import io.llmc.formats.checkpoint.QuantPlan;
import io.llmc.formats.checkpoint.Quantization;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tiles;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/// The part of a GPTQ config that says how weights are packed.
///
/// @param grid of every layer that no rule matches
/// @param indexed whether every such layer has a group index that is not sorted
/// @param rules of `dynamic`, in their order; the first that matches counts
/// @param mixed whether layers may have another width or group size
/// @param head whether the output layer is packed, too
record GptqConfig(
        Version version,
        Encoding.Grid<Codes.Ints> grid,
        boolean indexed,
        List<Rule> rules,
        boolean mixed,
        boolean head)
        implements Quantization {
    private static final String PLAIN = "-:";
    private static final String PACKED = "+:";

    /// What `dynamic` says of the layers that match a pattern.
    ///
    /// @param grid empty where they are left as they are
    /// @param indexed as [GptqConfig#indexed]
    record Rule(BoundedRegex pattern, Optional<Encoding.Grid<Codes.Ints>> grid, boolean indexed) {
        /// Python's `re.match`, as GPTQModel and vLLM look rules up.
        boolean matches(String linear) {
            try {
                return pattern.lookingAt(linear);
            } catch (RegexException e) {
                return false;
            }
        }
    }

    static GptqConfig of(ConfigSection q) {
        String format = q.text("checkpoint_format", q.text("format", "gptq"));
        if (q.flag("is_marlin_format", false)) {
            format = "marlin";
        }
        String word = q.text("pack_dtype", "int32");
        Version version = version(q, format);
        int bits = Quantization.bits(q, "bits");
        if (!version.bits().contains(bits) || !word.equals("int32")) {
            return Quantization.refuse(
                    q, "%s of %d bits in %s words".formatted(format, bits, word));
        }
        int size = Quantization.groupSize(q);
        // What is read is for g_idx to say.
        boolean indexed = q.flag("desc_act", false);
        Encoding.Grid<Codes.Ints> grid =
                Encoding.ints(bits, size > 0 ? size : Tiles.ALL, q.flag("sym", true));
        ObjectNode dynamic = q.has("dynamic") ? q.object("dynamic") : Json.object();
        return new GptqConfig(
                version,
                grid,
                indexed,
                rules(dynamic, grid, indexed),
                dynamic.propertyStream().anyMatch(e -> !e.getKey().startsWith(PLAIN)),
                q.flag("lm_head", false));
    }

    private static Version version(ConfigSection q, String format) {
        return Stream.of(Version.values())
                .filter(v -> v.format().equals(format))
                .findFirst()
                .orElseGet(() -> Quantization.refuse(q, "GPTQ " + format));
    }

    /// Rules with patterns of Python's own, or with widths that llmc does not know, are left out:
    /// the tensors of a layer say the same, and [GptqLayout] reads them.
    private static List<Rule> rules(
            ObjectNode dynamic, Encoding.Grid<Codes.Ints> base, boolean indexed) {
        List<Rule> rules = new ArrayList<>();
        dynamic.forEachEntry((key, value) -> {
            boolean plain = key.startsWith(PLAIN);
            String pattern = plain || key.startsWith(PACKED) ? key.substring(2) : key;
            try {
                Optional<Encoding.Grid<Codes.Ints>> grid =
                        plain ? Optional.empty() : Optional.of(grid(value, base));
                boolean own = value.path("desc_act").asBoolean(indexed);
                rules.add(new Rule(BoundedRegex.compile(pattern), grid, own));
            } catch (RegexException | IllegalArgumentException e) {
                return;
            }
        });
        return List.copyOf(rules);
    }

    private static Encoding.Grid<Codes.Ints> grid(JsonNode rule, Encoding.Grid<Codes.Ints> base) {
        return Encoding.ints(
                rule.path("bits").asInt(base.codes().bits()),
                rule.path("group_size").asInt(base.tiles().cols()),
                rule.path("sym").asBoolean(base.codes().symmetric()));
    }

    /// What the config says of a layer that is packed.
    Encoding.Grid<Codes.Ints> grid(String linear) {
        return rule(linear).flatMap(Rule::grid).orElse(grid);
    }

    private Optional<Rule> rule(String linear) {
        return rules.stream().filter(r -> r.matches(linear)).findFirst();
    }

    @Override
    public Optional<Scheme> scheme(String linear) {
        Optional<Rule> rule = rule(linear);
        boolean plain =
                rule.isPresent() ? rule.get().grid.isEmpty() : !head && linear.equals("lm_head");
        return plain ? Optional.empty() : Optional.of(Scheme.of(grid(linear)));
    }

    @Override
    public boolean indexed(String linear) {
        return rule(linear).map(Rule::indexed).orElse(indexed);
    }

    /// The config of GPTQModel. Most layers have the grid of the config itself; the others have
    /// rules, which vLLM looks up by the names under which it loads several layers as one.
    static ObjectNode write(QuantPlan plan, Version version, String toolVersion) {
        List<QuantPlan.Group> groups = plan.groups();
        QuantPlan.Group most =
                groups.stream()
                        .reduce((a, b) -> b.linears().size() > a.linears().size() ? b : a)
                        .orElseThrow();
        Encoding.Grid<?> grid = (Encoding.Grid<?>) most.scheme().weights();
        Solver last = plan.solved().getLast().solver();
        ObjectNode config = Json.object();
        config.put("bits", grid.codes().bits());
        config.put("checkpoint_format", version.format());
        // Runtimes take this to mean that g_idx is not sorted, and choose a slower kernel.
        config.put("desc_act", most.solver().groupIndex());
        ObjectNode dynamic = Json.object();
        plan.untouched().stream()
                .filter(u -> !u.text().equals("lm_head"))
                .map(QuantPlan.Untouched::pattern)
                .sorted()
                .forEach(pattern -> dynamic.putObject(PLAIN + pattern));
        for (QuantPlan.Group group : groups) {
            if (!group.equals(most)) {
                plan.patterns(group, true).forEach(p -> dynamic.set(PACKED + p, rule(group)));
            }
        }
        if (!dynamic.isEmpty()) {
            config.set("dynamic", dynamic);
        }
        config.put("format", version.format());
        config.put("group_size", grid.tiles().cols());
        config.put("lm_head", plan.schemes().byLinear().containsKey("lm_head"));
        ObjectNode meta = config.putObject("meta");
        meta.put("act_order", last.ordered());
        meta.put("damp_percent", last.damp());
        meta.putArray("quantizer").add("llmc:" + toolVersion);
        meta.put("solver", last.method());
        meta.put("static_groups", !last.groupIndex());
        meta.put("true_sequential", last.sequential());
        config.put("method", "gptq");
        config.put("pack_dtype", "int32");
        config.put("quant_method", "gptq");
        config.put("sym", symmetric(grid));
        return config;
    }

    private static ObjectNode rule(QuantPlan.Group group) {
        Encoding.Grid<?> grid = (Encoding.Grid<?>) group.scheme().weights();
        ObjectNode rule = Json.object();
        rule.put("bits", grid.codes().bits());
        rule.put("desc_act", group.solver().groupIndex());
        rule.put("group_size", grid.tiles().cols());
        rule.put("sym", symmetric(grid));
        return rule;
    }

    private static boolean symmetric(Encoding.Grid<?> grid) {
        return grid.codes() instanceof Codes.Ints(_, boolean symmetric) && symmetric;
    }
}
