// SPDX-License-Identifier: Apache-2.0
package io.llmc.fuzz;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ContainerNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.util.RawValue;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/// Changes JSON where it hurts: the text stays JSON, mostly, and what it says does not.
final class Trees {
    static final JsonMapper JSON = JsonMapper.builder().build();

    private final SplittableRandom random;
    private final List<ContainerNode<?>> places = new ArrayList<>();

    private Trees(SplittableRandom random) {
        this.random = random;
    }

    /// A changed copy.
    static String changed(JsonNode seed, SplittableRandom random) {
        JsonNode root = seed.deepCopy();
        Trees trees = new Trees(random);
        trees.collect(root);
        for (int left = 1 + geometric(random); left > 0 && !trees.places.isEmpty(); left--) {
            trees.change(trees.places.get(random.nextInt(trees.places.size())));
        }
        String text = text(root);
        return random.nextInt(8) == 0 ? Texts.changed(text, random) : text;
    }

    static String text(JsonNode root) {
        try {
            return JSON.writeValueAsString(root);
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }

    /// 0 half of the time, 1 a quarter, ...
    static int geometric(SplittableRandom random) {
        return Long.numberOfTrailingZeros(random.nextLong() | 1L << 8);
    }

    private void collect(JsonNode node) {
        if (node instanceof ContainerNode<?> container) {
            places.add(container);
            node.forEach(this::collect);
        }
    }

    private void change(ContainerNode<?> place) {
        switch (place) {
            case ObjectNode object -> change(object);
            case ArrayNode array -> change(array);
            default -> throw new IllegalStateException(place.toString());
        }
    }

    private void change(ObjectNode object) {
        List<String> keys = new ArrayList<>();
        object.fieldNames().forEachRemaining(keys::add);
        if (keys.isEmpty()) {
            object.set(Poison.word(random), Poison.node(random));
            return;
        }
        String key = keys.get(random.nextInt(keys.size()));
        String other = keys.get(random.nextInt(keys.size()));
        JsonNode value = object.get(key);
        switch (random.nextInt(12)) {
            case 0 -> object.remove(key);
            case 1 -> object.set(other, object.replace(key, object.get(other)));
            case 2 -> object.set(Poison.word(random), value);
            case 3 -> object.set(key, JsonNodeFactory.instance.textNode(Poison.word(random)));
            case 4 -> object.set(key, JsonNodeFactory.instance.textNode(value.asText()));
            case 5 -> object.set(key, object.arrayNode().add(value));
            case 6 -> object.set(Texts.changed(key, random), object.remove(key));
            case 7 -> object.set(key, raw(number(value)));
            case 8 -> twice(object, key);
            default -> object.set(key, Poison.node(random));
        }
    }

    /// Near to what it was: an off-by-one finds more than a random number.
    private String number(JsonNode value) {
        if (!value.isNumber()) {
            return Poison.literal(random);
        }
        double near = value.asDouble();
        return switch (random.nextInt(5)) {
            case 0 -> Long.toString((long) near + 1);
            case 1 -> Long.toString((long) near - 1);
            case 2 -> Long.toString((long) near * 2);
            case 3 -> Long.toString((long) near / 2);
            default -> Double.toString(-near);
        };
    }

    /// The same key again, which a tree cannot hold.
    private void twice(ObjectNode object, String key) {
        object.set(key, raw(text(object.get(key)) + "," + text(object.textNode(key)) + ":0"));
    }

    private void change(ArrayNode array) {
        int size = array.size();
        if (size == 0) {
            array.add(Poison.node(random));
            return;
        }
        int i = random.nextInt(size);
        switch (random.nextInt(6)) {
            case 0 -> array.remove(i);
            case 1 -> array.insert(i, array.get(random.nextInt(size)));
            case 2 -> array.set(i, array.set(random.nextInt(size), array.get(i)));
            case 3 -> array.set(i, raw(number(array.get(i))));
            case 4 -> array.removeAll();
            default -> array.set(i, Poison.node(random));
        }
    }

    private static JsonNode raw(String text) {
        return JsonNodeFactory.instance.rawValueNode(new RawValue(text));
    }
}
