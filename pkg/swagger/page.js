// A read works with and without a token. Swagger UI would show a lock, as if one
// were needed; the token of the dialog is sent all the same.
const optionalTokens = () => ({
	wrapComponents: {
		OperationSummary: (Original, system) => (props) => {
			const needed = props.operationProps.get("security");
			const optional = needed && needed.some((requirement) => requirement.isEmpty());
			return system.React.createElement(Original, {
				...props,
				operationProps: optional ? props.operationProps.delete("security") : props.operationProps,
			});
		},
	},
});

async function show() {
	const descriptions = await fetch("descriptions.json");
	window.ui = SwaggerUIBundle({
		urls: await descriptions.json(),
		"urls.primaryName": new URLSearchParams(location.search).get("urls.primaryName") ?? undefined,
		dom_id: "#swagger-ui",
		presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
		plugins: [optionalTokens],
		layout: "StandaloneLayout",
		deepLinking: true,
		persistAuthorization: true,
		// Swagger UI would otherwise show a badge of a validator on another host.
		validatorUrl: null,
	});
}

show();
