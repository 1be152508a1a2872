// Package manifest reads rendered Kubernetes objects for tests.
package manifest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Objects are rendered objects by kind and name, such as "Deployment achilles-tag".
type Objects map[string]metav1.Object

// Decode decodes objects. An unknown field is an error.
func Decode(t testing.TB, text string) Objects {
	t.Helper()
	all := Objects{}
	for document := range strings.SplitSeq("\n"+text, "\n---\n") {
		var meta metav1.PartialObjectMetadata
		require.NoError(t, yaml.Unmarshal([]byte(document), &meta), document)
		if meta.Kind == "" {
			continue
		}
		object, key := newObject(meta.APIVersion, meta.Kind), meta.Kind+" "+meta.Name
		require.NoError(t, yaml.UnmarshalStrict([]byte(document), object), "%s:\n%s", key, document)
		require.NotContains(t, all, key, "twice")
		all[key] = object
	}
	require.NotEmpty(t, all)
	return all
}

// newObject returns an object of a kind's Go type, or an unstructured one for a custom resource.
func newObject(version, kind string) metav1.Object {
	switch version + " " + kind {
	case "apps/v1 Deployment":
		return &appsv1.Deployment{}
	case "apps/v1 StatefulSet":
		return &appsv1.StatefulSet{}
	case "autoscaling/v2 HorizontalPodAutoscaler":
		return &autoscalingv2.HorizontalPodAutoscaler{}
	case "batch/v1 CronJob":
		return &batchv1.CronJob{}
	case "v1 ConfigMap":
		return &corev1.ConfigMap{}
	case "v1 Namespace":
		return &corev1.Namespace{}
	case "v1 PersistentVolumeClaim":
		return &corev1.PersistentVolumeClaim{}
	case "v1 Pod":
		return &corev1.Pod{}
	case "v1 Secret":
		return &corev1.Secret{}
	case "v1 Service":
		return &corev1.Service{}
	case "v1 ServiceAccount":
		return &corev1.ServiceAccount{}
	case "networking.k8s.io/v1 Ingress":
		return &networkingv1.Ingress{}
	case "networking.k8s.io/v1 NetworkPolicy":
		return &networkingv1.NetworkPolicy{}
	case "policy/v1 PodDisruptionBudget":
		return &policyv1.PodDisruptionBudget{}
	}
	return &unstructured.Unstructured{}
}

// Get returns the object of a type and name, which must exist.
func Get[T any](t testing.TB, all Objects, name string) *T {
	t.Helper()
	kind := fmt.Sprintf("%T", *new(T))
	key := kind[strings.LastIndexByte(kind, '.')+1:] + " " + name
	require.Contains(t, all, key)
	return any(all[key]).(*T)
}

// Each calls do for every object of a type.
func Each[T any](all Objects, do func(key string, object *T)) {
	for key, object := range all {
		if object, ok := any(object).(*T); ok {
			do(key, object)
		}
	}
}
