// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Arrays;
import java.util.List;

/// Reads what a config says about rotations, in the spelling of transformers 4 (`rope_theta`,
/// `rope_scaling` and their relatives at the top of the file) or 5 (`rope_parameters`, for all
/// layers or for each type of layer), with the precedence and the defaults of transformers 5.
///
/// @param root the whole config.json
/// @param type of the model
record RopeReader(ConfigSection root, String type, RopeConfig.Defaults absent) {
    private static final String PARAMETERS = "rope_parameters";
    private static final String SCALING = "rope_scaling";
    private static final String LOCAL_THETA = "rope_local_base_freq";
    private static final String ORIGINAL = "original_max_position_embeddings";

    /// Logarithms of them are divided by.
    private static final Range LENGTHS = new Range(2, HfConfig.POSITIONS.most(), false);

    private static final Range THETA = Range.above(1, 1e15);
    private static final Range FACTOR = Range.above(0, 1e6);
    private static final Range NOT_NEGATIVE = new Range(0, 1e6, false);

    /// @param layerType `full_attention` or `sliding_attention`, as in `layer_types`
    RopeConfig read(String layerType) {
        boolean sliding = layerType.equals("sliding_attention");
        boolean local = sliding && (root.mentions(LOCAL_THETA) || absent.localTheta() > 0);
        if (byLayerType()) {
            ConfigSection all = root.section(PARAMETERS);
            if (!all.has(layerType)) {
                throw root.wrong(PARAMETERS, "an entry for " + layerType);
            }
            ConfigSection own = all.section(layerType);
            if (sliding || !isGiven(SCALING)) {
                return read(own, local, own);
            }
            ObjectNode both = own.values().deepCopy();
            both.setAll(root.object(SCALING));
            return read(own.with(both), false, own);
        }
        if (absent.localTheta() > 0 && isGiven(PARAMETERS)) {
            throw root.wrong(PARAMETERS, "an entry for " + layerType);
        }
        // Olmo 3 scales the rotation of its full-attention layers only.
        boolean olmo3 = type.equals("olmo3");
        ConfigSection own = flat(local || sliding && olmo3);
        return read(own, local, root);
    }

    /// Whether every type of layer has parameters of its own.
    private boolean byLayerType() {
        return isGiven(PARAMETERS)
                && root.object(PARAMETERS).valueStream().allMatch(JsonNode::isObject);
    }

    /// Whether there is an object with something in it.
    private boolean isGiven(String key) {
        return root.has(key) && !root.object(key).isEmpty();
    }

    private ConfigSection flat(boolean unscaled) {
        if (isGiven(SCALING) && !unscaled) {
            return root.section(SCALING);
        }
        return isGiven(PARAMETERS)
                ? root.section(PARAMETERS)
                : new ConfigSection(root.file(), "", Json.object());
    }

    /// @param s the parameters of these layers
    /// @param local whether the top of the file has a base of its own for them
    /// @param outer where the original length may stand beside the parameters
    private RopeConfig read(ConfigSection s, boolean local, ConfigSection outer) {
        int positions = positions();
        if (root.has(ORIGINAL)) {
            root.integer(ORIGINAL, LENGTHS); // also where nothing is scaled
        }
        return new RopeConfig(theta(s, local), partial(s), positions, scaling(s, outer, positions));
    }

    private int positions() {
        String key = root.firstOf("max_position_embeddings", "n_positions");
        return root.integer(key, HfConfig.POSITIONS, absent.maxPositions());
    }

    private double theta(ConfigSection s, boolean local) {
        if (s.mentions("rope_theta")) {
            return s.decimal("rope_theta", THETA);
        }
        return local
                ? root.decimal(LOCAL_THETA, THETA, absent.localTheta())
                : root.decimal(
                        root.firstOf("rope_theta", "rotary_emb_base"), THETA, absent.theta());
    }

    private double partial(ConfigSection s) {
        Range range = Range.above(0, 1);
        if (s.mentions("partial_rotary_factor")) {
            return s.decimal("partial_rotary_factor", range);
        }
        String key = root.firstOf("partial_rotary_factor", "rotary_pct");
        return root.has(key) ? root.decimal(key, range) : absent.part();
    }

    private RopeScaling scaling(ConfigSection s, ConfigSection outer, int positions) {
        boolean older = s.mentions("type") & !s.mentions("rope_type");
        String key = older ? "type" : "rope_type";
        String type = s.text(key, "default");
        return switch (type) {
            // Three positions for images, which are one for text.
            case "default", "mrope" -> new RopeScaling.None();
            case "proportional" -> new RopeScaling.Proportional(partial(s));
            case "linear" -> new RopeScaling.Linear(s.decimal("factor", FACTOR));
            case "dynamic" -> new RopeScaling.Dynamic(s.decimal("factor", FACTOR));
            case "llama3" ->
                    new RopeScaling.Llama3(
                            s.decimal("factor", FACTOR),
                            s.decimal("low_freq_factor", FACTOR),
                            s.decimal("high_freq_factor", FACTOR),
                            original(s, outer, positions));
            case "yarn" -> yarn(s, outer, positions);
            case "longrope", "su" -> longRope(s, outer, positions);
            default ->
                    throw new UserException(
                            "%s: '%s%s' asks for rope scaling \"%s\", which llmc does not know"
                                    .formatted(s.file(), s.path(), key, type),
                            "known: " + RopeScaling.KNOWN);
        };
    }

    /// The top of the file goes before the parameters, as in transformers.
    private int original(ConfigSection s, ConfigSection outer, int positions) {
        if (outer.equals(root) && root.mentions(ORIGINAL)) {
            return root.integer(ORIGINAL, LENGTHS);
        }
        if (outer.equals(root) && absent.originalPositions() > 0) {
            return absent.originalPositions();
        }
        return s.integer(ORIGINAL, LENGTHS, positions);
    }

    private RopeScaling yarn(ConfigSection s, ConfigSection outer, int positions) {
        int original = original(s, outer, positions);
        // Left out it is an error, null stands for the ratio of the two lengths: so transformers.
        double factor =
                s.mentions("factor") && !s.has("factor")
                        ? (double) positions / original
                        : s.decimal("factor", FACTOR);
        double scale = orElse(s, "mscale", NOT_NEGATIVE, 0);
        double scaleAll = orElse(s, "mscale_all_dim", NOT_NEGATIVE, 0);
        double attention =
                scale != 0 && scaleAll != 0
                        ? stretch(factor, scale) / stretch(factor, scaleAll)
                        : stretch(factor, 1);
        return new RopeScaling.Yarn(
                factor,
                orElse(s, "beta_fast", FACTOR, 32),
                orElse(s, "beta_slow", FACTOR, 1),
                orElse(s, "attention_factor", FACTOR, attention),
                scaleAll == 0 ? 1 : Math.pow(stretch(factor, scaleAll), 2),
                truncates(s),
                original);
    }

    /// transformers takes null for false here.
    private static boolean truncates(ConfigSection s) {
        return !s.mentions("truncate") || s.has("truncate") && s.flag("truncate");
    }

    private RopeScaling longRope(ConfigSection s, ConfigSection outer, int positions) {
        int original = original(s, outer, positions);
        // A factor in the parameters wins over the ratio of the two lengths, as in transformers.
        double factor = orElse(s, "factor", FACTOR, (double) positions / original);
        double attention = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
        double either = orElse(s, "attention_factor", FACTOR, attention);
        return new RopeScaling.LongRope(
                list(s, "short_factor"),
                list(s, "long_factor"),
                orElse(s, "short_mscale", FACTOR, either),
                orElse(s, "long_mscale", FACTOR, either),
                original);
    }

    private static List<Double> list(ConfigSection s, String key) {
        return Arrays.stream(s.decimals(key, FACTOR)).boxed().toList();
    }

    private static double stretch(double factor, double mscale) {
        return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
    }

    /// Where null is as good as nothing.
    private static double orElse(ConfigSection s, String key, Range range, double absent) {
        return s.has(key) ? s.decimal(key, range) : absent;
    }
}
